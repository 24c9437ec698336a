use super::*;

fn class(name: &str, controller: &str) -> Value {
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": meta("", name),
        "spec": {"controller": controller}})
}

/// Whether it is served, and what is said of its class.
fn claimed(unclassed: bool, field: Option<&str>, annotation: Option<&str>) -> (bool, Vec<String>) {
    let mut ingress = ingress_of("a", "i", &[("x.test", "/")]);
    if let Some(field) = field {
        ingress["spec"]["ingressClassName"] = json!(field);
    }
    if let Some(annotation) = annotation {
        ingress["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": annotation});
    }
    let mut store = Store::default();
    for value in [class("ours", "headgate.dev/ingress-controller"), class("theirs", "example.com/other"), ingress] {
        store.apply(object(&value));
    }
    let mut compiler = Compiler::new(Claims { unclassed, ..claims() }, keys());
    take(&mut compiler, &mut store);
    let served = !compiler.table().hosts.is_empty();
    assert!(served || compiler.foreign().count() == 1 || !said(&compiler, "IngressClassNotFound").is_empty());
    (served, said(&compiler, "IngressClassNotFound"))
}

#[test]
fn who_is_ours() {
    for (unclassed, field, annotation, served) in [
        (false, Some("ours"), None, true),
        (true, Some("theirs"), Some("ours"), false),
        (false, Some("by-name"), None, true),
        (false, None, Some("by-name"), true),
        (false, Some(""), Some("ours"), true),
        (true, Some(""), None, true),
        (true, None, Some(""), true),
        (false, None, None, false),
        (true, None, Some("traefik"), true),
        (true, None, Some("headgate"), true),
        (false, None, Some("theirs"), false),
        (true, None, Some("nginx"), false),
        (false, None, Some("nginx"), false),
    ] {
        let (found, said) = claimed(unclassed, field, annotation);
        assert_eq!((found, said), (served, vec![]), "{unclassed} {field:?} {annotation:?}");
    }
}

#[test]
fn a_missing_class_is_said_of_what_names_it() {
    let end = "IngressClass traefik does not exist, so nobody serves this Ingress";
    let field = [format!("Ingress a/i spec.ingressClassName: {end}")];
    assert_eq!(claimed(true, Some("traefik"), None), (false, field.to_vec()));
    let annotation = [format!("Ingress a/i metadata.annotations[kubernetes.io/ingress.class]: {end}")];
    assert_eq!(claimed(false, None, Some("traefik")), (false, annotation.to_vec()));
}

#[test]
fn who_is_not_ours_is_known_with_its_class() {
    let mut theirs = ingress_of("a", "i", &[("x.test", "/")]);
    theirs["spec"]["ingressClassName"] = json!("theirs");
    let compiler = compiled(&[class("theirs", "example.com/other"), theirs]);
    let foreign: Vec<_> = compiler.foreign().map(|(key, class)| (key.to_string(), class)).collect();
    assert_eq!(foreign, [("a/i".to_owned(), Some("theirs"))]);
}
