use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::{diagnostic::Severity, objects::Kind};

fn parse_file(name: &str, text: &str) -> Result<Parsed, Box<Diagnostic>> {
    let file: Arc<Path> = Path::new(name).into();
    let mut all = Parsed::default();
    for document in documents(text) {
        let parsed = parse(&document, &file)?;
        all.items.extend(parsed.items);
        all.diagnostics.extend(parsed.diagnostics);
    }
    Ok(all)
}

fn yaml(text: &str) -> Parsed {
    parse_file("m.yaml", text).unwrap()
}

fn ids(parsed: &Parsed) -> Vec<String> {
    let id = |item: &Item| match item {
        Item::Object(object) => object.id().to_string(),
        Item::Refused(Some(id)) => format!("refused {id}"),
        Item::Refused(None) => "refused".to_owned(),
    };
    parsed.items.iter().map(id).collect()
}

fn lines(parsed: &Parsed) -> Vec<u32> {
    let origin = |item: &Item| match item {
        Item::Object(object) => object.meta().origin.as_ref().map(|o| o.line),
        Item::Refused(_) => None,
    };
    parsed.items.iter().filter_map(origin).collect()
}

fn only(parsed: &Parsed) -> &Diagnostic {
    assert_eq!(parsed.diagnostics.len(), 1, "{:#?}", parsed.diagnostics);
    &parsed.diagnostics[0]
}

fn line(diagnostic: &Diagnostic) -> u32 {
    diagnostic.origin.as_ref().unwrap().line
}

const INGRESS: &str = "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: '{}'
    a: b
spec:
  rules:
    - host: a.test
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: web
                port:
                  number: 80
";

#[test]
fn documents_are_cut_at_markers_only() {
    let cut = |text: &'static str| documents(text).iter().map(|d| (d.text, d.start, d.line)).collect::<Vec<_>>();
    assert_eq!(cut(""), []);
    assert_eq!(cut("# only\n\n--- # a comment\n---\n...\n"), []);
    assert_eq!(cut("a: 1"), [("a: 1", 1, 1)]);
    assert_eq!(cut("\u{feff}---\r\na: 1\r\n---\r\nb: 1\r\n"), [("---\r\na: 1\r\n", 1, 2), ("---\r\nb: 1\r\n", 3, 4)]);
    assert_eq!(cut("# c\n\na: 1\n--- \n\n# d\nb: 1\n"), [("# c\n\na: 1\n", 1, 3), ("--- \n\n# d\nb: 1\n", 4, 7)]);
    // A directive belongs to the document that follows it.
    assert_eq!(cut("%YAML 1.1\n---\na: 1\n...\nb: 1\n"), [("%YAML 1.1\n---\na: 1\n...\n", 1, 3), ("b: 1\n", 5, 5)]);
    // Content on the marker's line; more than three dashes, and dashes further in, are content.
    assert_eq!(cut("--- {a: 1}\n--- |\n ---\n----\n"), [("--- {a: 1}\n", 1, 1), ("--- |\n ---\n----\n", 2, 2)]);
}

proptest! {
    #[test]
    fn cutting_loses_nothing_but_blanks(
        parts in proptest::collection::vec("[ab: #\n-]{0,12}|---|\\.\\.\\.|\n", 0..20),
    ) {
        let text = parts.concat();
        let found = documents(&text);
        let mut end = 0;
        for document in &found {
            let at = document.text.as_ptr() as usize - text.as_ptr() as usize;
            prop_assert!(at >= end);
            prop_assert_eq!(text[..at].matches('\n').count() as u32 + 1, document.start);
            prop_assert!(document.line >= document.start);
            end = at + document.text.len();
        }
        let held: usize = found.iter().map(|d| d.text.matches(['a', 'b']).count()).sum();
        let comment = |l: &str| l.trim_start().starts_with('#') || l.starts_with("---") || l.starts_with("...");
        let written: usize = text.lines().filter(|l| !comment(l)).map(|l| l.matches(['a', 'b']).count()).sum();
        prop_assert!(held >= written);
    }

    #[test]
    fn nothing_that_is_read_makes_a_panic(text in "(?s)[a-z:{}\\[\\]&*<>|%!'\",#\n\t -]{0,200}") {
        for name in ["m.yaml", "m.json"] {
            let _ = parse_file(name, &text);
            let _ = parse_file(name, &format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec: {text}"));
        }
    }
}

#[test]
fn an_ingress_is_read_with_its_place_and_default_namespace() {
    let parsed = yaml(&format!("# first\n---\n{INGRESS}"));
    assert_eq!((ids(&parsed), lines(&parsed)), (vec!["Ingress default/web".to_owned()], vec![3]));
    assert!(parsed.diagnostics.is_empty());
    let Item::Object(Object::Ingress(ingress)) = &parsed.items[0] else { panic!() };
    assert_eq!(&*ingress.spec.rules[0].host, "a.test");
    // What kubectl keeps for itself would double every object.
    assert_eq!(ingress.meta.annotations.keys().map(|k| &**k).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn other_kinds_scalars_and_empty_documents_are_skipped() {
    let parsed = yaml(
        "just text\n---\n- a\n- b\n---\n---\n~\n---\nkind: ConfigMap\napiVersion: v1\n---\nreplicas: 3\n---\n\
         apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: k}\n---\nkind: 3\napiVersion: v1\n",
    );
    assert_eq!(parsed, Parsed::default());
}

#[test]
fn lists_are_taken_apart_with_the_line_of_each_element() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata:\n    name: a\n\
                - {apiVersion: v1, kind: Pod, metadata: {name: p}}\n- apiVersion: v1\n  kind: Service\n  \
                metadata:\n    \
                name: b\n    namespace: x\n";
    let parsed = yaml(text);
    assert_eq!(ids(&parsed), ["Service default/a", "Service x/b"]);
    assert_eq!(lines(&parsed), [4, 9]);
    // The elements of a typed List need not say what they are; the API server leaves it out.
    let parsed = yaml("kind: IngressClassList\napiVersion: networking.k8s.io/v1\nitems: [{metadata: {name: c}}]\n");
    assert_eq!(ids(&parsed), ["IngressClass c"]);
    let nested = yaml(
        "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: ServiceList, items: [{metadata: {name: nn}}]}]",
    );
    assert_eq!(ids(&nested), ["Service default/nn"]);
    assert_eq!(yaml("apiVersion: v1\nkind: List\nitems:\n"), Parsed::default());
}

#[test]
fn a_faulty_element_fails_alone_and_is_placed() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata:\n    name: a\n  \
                spec:\n    \
                ports:\n    - port: 80\n    - port: many\n- {apiVersion: v1, kind: Service, metadata: {name: b}}\n";
    let parsed = yaml(text);
    assert_eq!(ids(&parsed), ["refused Service default/a", "Service default/b"]);
    let error = only(&parsed);
    assert_eq!((error.severity, error.field.as_str(), line(error)), (Severity::Error, "spec.ports[1].port", 11));
    assert_eq!(error.subject.to_string(), "Service default/a");
}

#[test]
fn json_is_read_from_any_file() {
    let json = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"}}
{"apiVersion": "v1",
 "kind": "List",
 "items": [{"apiVersion":"v1","kind":"Service","metadata":{"name":"b"}}]}"#;
    for file in ["m.json", "m.yaml"] {
        let parsed = parse_file(file, json).unwrap();
        assert_eq!(ids(&parsed), ["Service default/a", "Service default/b"], "{file}");
        assert_eq!(lines(&parsed), [1, 2]);
    }
    let json = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},
"spec":{"ports":[
{"port":-1}]}}"#;
    let typed = parse_file("m.json", json).unwrap();
    assert_eq!((only(&typed).field.as_str(), line(only(&typed))), ("spec.ports[0].port", 3));
    // Flow-style YAML looks like JSON, but is none.
    assert_eq!(ids(&yaml("{apiVersion: v1, kind: Service, metadata: {name: a}}")), ["Service default/a"]);
    let error = parse_file("m.json", "\n\n{\"a\": 1,\n \"b\" 2}").unwrap_err();
    assert_eq!((error.code, line(&error)), ("NotYaml", 4));
    assert!(error.message.starts_with("this is not JSON: expected `:`"), "{}", error.message);
}

#[test]
fn what_is_no_yaml_says_where() {
    for (text, at) in
        [("a: 1\n---\nb: [1,\nc: 2\n", 3), ("a: b: c", 1), ("a: 1\n... x\n", 2), ("x: 1\n---\n\n\na: *b", 5)]
    {
        let error = parse_file("m.yaml", text).unwrap_err();
        assert_eq!((error.code, line(&error)), ("NotYaml", at), "{text:?}: {error}");
        assert_eq!(error.subject.to_string(), "File m.yaml");
        assert!(!error.message.contains("line"), "the place is in the origin: {error}");
    }
}

#[test]
fn anchors_and_merge_keys_work_and_bombs_are_refused() {
    let parsed = yaml(
        "apiVersion: v1\nkind: Service\nx-base: &base\n  type: ClusterIP\n  ports: [{port: 80}]\nmetadata: {name: a}\n\
         spec:\n  <<: *base\n  clusterIP: None\n",
    );
    let Item::Object(Object::Service(service)) = &parsed.items[0] else { panic!() };
    assert_eq!((&*service.spec.kind, &*service.spec.cluster_ip, service.spec.ports[0].port), ("ClusterIP", "None", 80));

    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for i in 1..12 {
        let before = vec![format!("*a{}", i - 1); 9].join(",");
        bomb.push_str(&format!("a{i}: &a{i} [{before}]\n"));
    }
    let error = parse_file("m.yaml", &bomb).unwrap_err();
    assert!(error.message.contains("expand to far more than is written"), "{error}");
    // Few aliases, each of a long text.
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 5_000].join(","));
    assert!(parse_file("m.yaml", &long).is_err());
    let deep = format!("a: {}", "[".repeat(100_000));
    assert!(parse_file("m.yaml", &deep).is_err());
    assert!(parse_file("m.json", &"[".repeat(100_000)).is_err());
}

#[test]
fn a_long_document_is_no_bomb() {
    let mut list = "apiVersion: v1\nkind: List\nitems:\n".to_owned();
    for i in 0..20_000 {
        list.push_str(&format!(
            "- {{apiVersion: v1, kind: Service, metadata: {{name: s{i}}}, spec: {{ports: [{{port: 1}}]}}}}\n"
        ));
    }
    assert_eq!(yaml(&list).items.len(), 20_000);
}

#[test]
fn what_yaml_makes_of_unquoted_words_is_explained() {
    let parsed = yaml("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  annotations:\n    x: on\n");
    assert_eq!(ids(&parsed), ["refused Service default/a"]);
    let error = only(&parsed);
    assert_eq!((error.field.as_str(), line(error)), ("metadata.annotations.x", 6));
    assert!(error.message.contains("boolean") && error.help.contains("quotes"), "{error}");
}

#[test]
fn names_are_checked() {
    for (metadata, field, code) in [
        ("{}", "metadata.name", "MissingName"),
        ("{generateName: a-}", "metadata.name", "MissingName"),
        ("{name: 5}", "metadata.name", "InvalidName"),
        ("{name: Web}", "metadata.name", "InvalidName"),
        ("{name: a..b}", "metadata.name", "InvalidName"),
        ("{name: -a}", "metadata.name", "InvalidName"),
        ("{name: a/b}", "metadata.name", "InvalidName"),
        ("{name: \"a\\nb\"}", "metadata.name", "InvalidName"),
        ("{name: a, namespace: b.c}", "metadata.namespace", "InvalidName"),
        ("{name: a, namespace: [b]}", "metadata.namespace", "InvalidName"),
    ] {
        let parsed = yaml(&format!("apiVersion: v1\nkind: Service\nmetadata: {metadata}\n"));
        let error = only(&parsed);
        assert_eq!((error.severity, error.field.as_str(), error.code), (Severity::Error, field, code), "{metadata}");
        assert_eq!(ids(&parsed), ["refused"]);
    }
    assert_eq!(ids(&yaml("{apiVersion: v1, kind: Service, metadata: {name: 1.a-b.2}}")), ["Service default/1.a-b.2"]);
    let class = yaml("{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: a, namespace: x}}");
    assert_eq!(ids(&class), ["IngressClass a"]);
}

#[test]
fn an_outdated_api_version_is_named() {
    for (api_version, kind, write) in [
        ("extensions/v1beta1", "Ingress", "networking.k8s.io/v1"),
        ("networking.k8s.io/v1beta1", "Ingress", "networking.k8s.io/v1"),
        ("networking.k8s/v1", "Ingress", "networking.k8s.io/v1"),
        ("traefik.containo.us/v1alpha1", "Middleware", "traefik.io/v1alpha1"),
        ("discovery.k8s.io/v1beta1", "EndpointSlice", "discovery.k8s.io/v1"),
        ("apps/v1", "Service", "v1"),
        ("v1", "service", "v1"),
    ] {
        let parsed = yaml(&format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: a}}\n"));
        let warning = only(&parsed);
        assert_eq!((warning.severity, warning.code), (Severity::Warning, "UnknownApiVersion"));
        assert!(warning.help.starts_with(&format!("write apiVersion: {write} ")), "{warning}");
        assert!(parsed.items.is_empty());
    }
}

#[test]
fn misspelt_fields_of_an_ingress_are_pointed_out() {
    let text = INGRESS.replace("pathType", "pathtype").replace("number:", "nunber:");
    let parsed = yaml(&text);
    assert_eq!(ids(&parsed), ["Ingress default/web"]);
    let found: Vec<_> = parsed.diagnostics.iter().map(|d| (d.field.as_str(), d.help.as_str(), line(d))).collect();
    assert_eq!(
        found,
        [
            ("spec.rules[0].http.paths[0].backend.service.port.nunber", "did you mean `number`?", 19),
            ("spec.rules[0].http.paths[0].pathtype", "did you mean `pathType`?", 14),
        ]
    );
    let old = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\n\
               spec: {defaultBackend: {serviceName: x}}";
    assert_eq!(only(&yaml(old)).help, "write service.name instead");
}

#[test]
fn a_key_that_is_there_twice_costs_its_own_document() {
    let parsed = yaml(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec: {}\nspec: {}\n---\n\
         {apiVersion: v1, kind: Service, metadata: {name: b}}\n",
    );
    assert_eq!(ids(&parsed), ["refused Service default/a", "Service default/b"]);
    let error = only(&parsed);
    assert!(error.message.starts_with("the key `spec` is there twice"), "{error}");
    assert_eq!(line(error), 6);
}

#[test]
fn errors_do_not_show_what_a_secret_holds() {
    let parsed = yaml("apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  pin: 271828\n");
    assert_eq!(ids(&parsed), ["refused Secret default/a"]);
    let error = only(&parsed);
    assert_eq!((error.field.as_str(), line(error)), ("stringData.pin", 5));
    assert!(!error.to_string().contains("271828"), "{error}");
}

#[test]
fn a_moved_document_differs_by_its_lines_only() {
    let mut parsed = yaml(INGRESS);
    parsed.moved(6);
    assert_eq!(parsed, {
        let text = format!("{}{INGRESS}", "#\n".repeat(6));
        yaml(&text)
    });
    assert_eq!(
        Kind::Ingress,
        match &parsed.items[0] {
            Item::Object(o) => o.kind(),
            Item::Refused(_) => panic!(),
        }
    );
}
