//! What docs/ says of Middlewares, held against Traefik's list of fields, the definition of ours and the program: every
//! field is in the table, with its true state; each type has a page with an example that is served; links lead somewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

/// Types that no page shows an example of, because nothing of them is served.
const UNSERVED: [&str; 1] = ["plugin"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn text(file: impl AsRef<Path>) -> String {
    let file = root().join(file);
    fs::read_to_string(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()))
}

/// The schema of `spec` of the definition.
fn schema() -> Value {
    let crd: Value = serde_saphyr::from_str(&text("crds/traefik.io_middlewares.yaml")).unwrap();
    crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap().clone()
}

/// Every field below a schema by its path (`service.sticky`, `middlewares[].name`), and whether it has none below it.
fn walk(schema: &Value, path: &str, into: &mut BTreeMap<String, bool>) {
    let below = schema["properties"].as_object();
    if !path.is_empty() {
        into.insert(path.to_owned(), below.is_none() && schema["items"]["properties"].is_null());
    }
    if schema["items"]["properties"].is_object() {
        walk(&schema["items"], &format!("{path}[]"), into);
        into.remove(&format!("{path}[]"));
    }
    for (name, field) in below.into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        walk(field, &path, into);
    }
}

/// The types, each with its fields as [`walk`] gives them.
fn types() -> BTreeMap<String, BTreeMap<String, bool>> {
    let schema = schema();
    let types = schema["properties"].as_object().unwrap().iter().map(|(name, section)| {
        let mut fields = BTreeMap::new();
        walk(section, "", &mut fields);
        (name.clone(), fields)
    });
    types.collect()
}

/// A field in a cell of the table, and what stands in parentheses behind it.
#[derive(Debug)]
struct Item {
    path: String,
    remark: String,
}

/// A row of the table: a type.
#[derive(Debug)]
struct Row {
    name: String,
    page: String,
    /// supported, refused, warned
    states: [Vec<Item>; 3],
}

const STATES: [&str; 3] = ["supported", "refused", "warned"];

/// The rows of the table under "Every field".
fn table() -> Vec<Row> {
    let docs = text("docs/middlewares.md");
    let (_, section) = docs.split_once("\n## Every field\n").expect("the section");
    let mut lines = section.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    assert_eq!(cells(lines.next().unwrap()), ["type", STATES[0], STATES[1], STATES[2]]);
    assert!(lines.next().unwrap().starts_with("| ---"));
    let rows = lines.map(|line| {
        let cells = cells(line);
        let [link, states @ ..] = cells.as_slice() else { panic!("{line}") };
        let (name, page) = link.trim_matches(['[', ')']).split_once("](").expect(link);
        let states: Vec<Vec<Item>> = states.iter().map(|cell| items(cell)).collect();
        Row { name: name.to_owned(), page: page.to_owned(), states: states.try_into().expect(line) }
    });
    rows.collect()
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

/// `a`, `b.{c, d}` (why)
fn items(cell: &str) -> Vec<Item> {
    if cell == "all of it" {
        return vec![Item { path: String::new(), remark: String::new() }];
    }
    let parts: Vec<&str> = cell.split('`').collect();
    assert!(parts.len() % 2 == 1, "an odd number of backticks: {cell}");
    let mut found = Vec::new();
    for pair in parts[1..].chunks(2) {
        let (code, after) = (pair[0], pair[1].trim().trim_end_matches(',').trim());
        let remark = after.strip_prefix('(').and_then(|after| after.strip_suffix(')')).unwrap_or_default();
        assert!(after.is_empty() || !remark.is_empty(), "{after:?} behind `{code}`");
        let names = match code.split_once('{') {
            None => vec![code.to_owned()],
            Some((before, names)) => {
                names.trim_end_matches('}').split(',').map(|name| format!("{before}{}", name.trim())).collect()
            }
        };
        found.extend(names.into_iter().map(|path| Item { path, remark: remark.to_owned() }));
    }
    assert!(parts[0].is_empty(), "{:?} in a cell", parts[0]);
    found
}

/// Whether `field` is this one or below it.
fn is_at_or_below(field: &str, above: &str) -> bool {
    let rest = field.strip_prefix(above);
    rest.is_some_and(|rest| above.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
}

#[test]
fn each_type_is_in_the_table_and_has_its_page() {
    let (rows, types) = (table(), types());
    let names: Vec<&String> = rows.iter().map(|row| &row.name).collect();
    assert_eq!(names, types.keys().collect::<Vec<_>>(), "a row for each type, by name");
    let wrong: Vec<&String> =
        rows.iter().filter(|r| r.page != format!("middlewares/{}.md", r.name)).map(|r| &r.name).collect();
    assert!(wrong.is_empty(), "rows that don't link the type's own page: {wrong:?}");
    let pages: BTreeSet<String> = fs::read_dir(root().join("docs/middlewares"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let missing: Vec<&String> = types.keys().filter(|name| !pages.contains(*name)).collect();
    assert!(missing.is_empty(), "types without a page in docs/middlewares: {missing:?}");
    let foreign: Vec<&String> = pages.iter().filter(|page| !types.contains_key(*page)).collect();
    assert!(foreign.is_empty(), "pages of no type: {foreign:?}");
}

#[test]
fn every_field_has_one_state() {
    let traefik: BTreeMap<String, Value> =
        serde_saphyr::from_str(&text("tests/crd/traefik-v3.7-middleware-fields.yaml")).unwrap();
    let mut types = types();
    // A list's or a map's values are told as the list or the map.
    for (path, field) in &traefik {
        let (name, below) = path.split_once('.').unwrap_or((path, ""));
        let item_of_objects = traefik.get(&format!("{path}[]")).is_some_and(|item| item["type"] == "object");
        if !below.is_empty() && !below.ends_with(['}', ']']) && field["type"] != "object" && !item_of_objects {
            types.entry(name.to_owned()).or_default().insert(below.to_owned(), true);
        }
    }
    let mut wrong = Vec::new();
    for row in table() {
        let fields = types.remove(&row.name).unwrap_or_default();
        let mut told: BTreeMap<&str, Vec<&Item>> = BTreeMap::new();
        for (state, items) in row.states.iter().enumerate() {
            for item in items {
                let path = format!("{}.{}", row.name, item.path);
                match fields.get(&item.path) {
                    // What is supported is told one by one, so that a new field doesn't slip in below another.
                    Some(false) if state == 0 => wrong.push(format!("{path} is a section: name its fields")),
                    None if !item.path.is_empty() => wrong.push(format!("{path} does not exist")),
                    _ => {}
                }
                told.entry(&item.path).or_default().push(item);
            }
        }
        for (path, items) in &told {
            if items.len() > 1 && items.iter().any(|item| item.remark.is_empty()) {
                wrong.push(format!("{}.{path} is told {} times, and not which when", row.name, items.len()));
            }
        }
        for field in fields.iter().filter(|(_, leaf)| **leaf).map(|(path, _)| path) {
            let above: Vec<&&str> = told.keys().filter(|path| is_at_or_below(field, path)).collect();
            if above.len() != 1 {
                wrong.push(format!("{}.{field} is told {} times: {above:?}", row.name, above.len()));
            }
        }
    }
    wrong.extend(types.into_keys().map(|name| format!("{name} is not in the table")));
    assert!(wrong.is_empty(), "docs/middlewares.md, Every field:\n{}", wrong.join("\n"));
}

/// The value of a field in a document: `a.b` and `a[].b`, of which the first item counts.
fn value_of(section: &Value, path: &str) -> Value {
    let steps = path.replace("[]", ".0");
    section.pointer(&format!("/{}", steps.replace('.', "/"))).unwrap_or_else(|| panic!("{path} in {section}")).clone()
}

/// A Middleware of a type that is valid with as little as possible, and one field of it.
fn with_field(name: &str, path: &str, value: Value) -> Value {
    let mut section = match name {
        "errors" => json!({ "status": ["500"], "query": "/", "service": { "name": "app", "port": 80 } }),
        "forwardAuth" => json!({ "address": "http://192.0.2.1/" }),
        "headers" => json!({ "frameDeny": true }),
        "rateLimit" => json!({ "average": 1 }),
        "stripPrefix" => json!({ "prefixes": ["/a"] }),
        _ => json!({}),
    };
    let mut at = &mut section;
    for step in path.split('.').filter(|step| !step.is_empty()) {
        at = &mut at[step];
    }
    *at = value;
    json!({
        "apiVersion": "traefik.io/v1alpha1",
        "kind": "Middleware",
        "metadata": { "name": "m", "namespace": "default" },
        "spec": { name: section },
    })
}

/// What `headgate check` says of these documents and an Ingress that names the Middleware, to a Service with one pod,
/// and whether it is content.
fn check(documents: &str, namespace: &str, middleware: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let metadata = json!({ "name": "app", "namespace": namespace });
    let backend = json!({ "service": { "name": "app", "port": { "number": 80 } } });
    let mut ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata,
        "spec": { "rules": [{ "host": "app.test", "http": { "paths": [{
            "path": "/", "pathType": "Prefix", "backend": backend,
        }] } }] },
    });
    ingress["metadata"]["annotations"] = json!({
        "traefik.ingress.kubernetes.io/router.middlewares": format!("{namespace}-{middleware}@kubernetescrd"),
    });
    let service =
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": { "ports": [{ "port": 80 }] } });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": "app", "namespace": namespace, "labels": { "kubernetes.io/service-name": "app" } },
        "addressType": "IPv4", "ports": [{ "name": "", "port": 8080 }], "endpoints": [{ "addresses": ["192.0.2.1"] }],
    });
    let file = folder.path().join("in.yaml");
    fs::write(&file, format!("{documents}\n---\n{ingress}\n---\n{service}\n---\n{slice}\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEADGATE_")) {
        command.env_remove(name);
    }
    let output = command.arg("check").arg(&file).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code() == Some(0) && said.contains("nothing is wrong"), said)
}

#[test]
fn what_is_refused_or_does_nothing_is_told() {
    let samples: Vec<Value> = serde_saphyr::from_multiple(&text("tests/crd/one-of-every-type.yaml")).unwrap();
    let mut wrong = Vec::new();
    for row in table() {
        let sample = samples.iter().find_map(|document| document["spec"].get(&row.name));
        for (state, severity) in [(1, "error"), (2, "warning")] {
            for item in &row.states[state] {
                // The words of a remark are values, where it says which ones.
                let words: Vec<&str> = item.remark.split(", ").filter(|word| !word.contains(' ')).collect();
                let mut values: Vec<Value> = words.iter().filter(|w| !w.is_empty()).map(|word| json!(word)).collect();
                if values.is_empty() {
                    let sample = sample.unwrap_or_else(|| panic!("no sample of {}", row.name));
                    values.push(if item.path.is_empty() { sample.clone() } else { value_of(sample, &item.path) });
                    // A flag that is a sample of form may be off.
                    if values[0] == json!(false) {
                        values[0] = json!(true);
                    }
                }
                for value in values {
                    let document = with_field(&row.name, &item.path, value.clone());
                    let field = format!("spec.{}.{}", row.name, item.path);
                    let told = format!("{severity}: Middleware default/m, {}", field.trim_end_matches('.'));
                    let (_, said) = check(&document.to_string(), "default", "m");
                    let is_closed = said.contains("503: closed");
                    if !said.contains(&told) || is_closed != (severity == "error") {
                        let of = |line: &&str| line.contains(": Middleware default/m, ");
                        let heard: Vec<&str> = said.lines().filter(of).collect();
                        let heard = heard.join("\n    ");
                        wrong.push(format!("{field}: {value}: no `{told}…`, or closed: {is_closed}:\n    {heard}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The blocks of a page that are marked as YAML.
fn yaml_blocks(page: &str) -> Vec<String> {
    let behind = page.split("```yaml\n").skip(1);
    behind.map(|rest| rest.split_once("\n```").expect("an end").0.to_owned()).collect()
}

#[test]
fn the_example_of_each_page_is_served() {
    let mut wrong = Vec::new();
    for row in table() {
        let Ok(page) = fs::read_to_string(root().join("docs").join(&row.page)) else { continue };
        assert!(page.starts_with(&format!("# {}\n", row.name)), "{}: its title", row.page);
        let blocks = yaml_blocks(&page);
        if UNSERVED.contains(&row.name.as_str()) {
            assert!(blocks.is_empty(), "{}: no example of what isn't served", row.page);
            continue;
        }
        let [example] = blocks.as_slice() else { panic!("{}: {} examples", row.page, blocks.len()) };
        let documents: Vec<Value> = serde_saphyr::from_multiple(example).unwrap();
        let first = &documents[0];
        let sections: Vec<&String> = first["spec"].as_object().expect("a spec").keys().collect();
        assert_eq!((&first["kind"], sections), (&json!("Middleware"), vec![&row.name]), "{}", row.page);
        let namespace = first["metadata"]["namespace"].as_str().unwrap_or("default");
        let (content, said) = check(example, namespace, first["metadata"]["name"].as_str().unwrap());
        if !content {
            wrong.push(format!("{}:\n{said}", row.page));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_page_tells_every_field_that_counts() {
    let types = types();
    for row in table() {
        let Ok(page) = fs::read_to_string(root().join("docs").join(&row.page)) else { continue };
        // What is refused or warned of as a section is told as one.
        let told_as = |field: &str| {
            let items =
                row.states[1].iter().map(|item| (true, item)).chain(row.states[2].iter().map(|item| (false, item)));
            let mut sections = items.filter(|(_, item)| is_at_or_below(field, &item.path));
            sections.next().map(|(refused, item)| (refused, item.path.clone()))
        };
        let leaves = types[&row.name].iter().filter(|(_, leaf)| **leaf).map(|(field, _)| field);
        let counting = leaves.filter_map(|field| match told_as(field) {
            Some((true, _)) => None,
            Some((false, section)) => Some(section),
            None => Some(field.clone()),
        });
        let untold: BTreeSet<String> =
            counting.filter(|field| !page.contains(field.rsplit('.').next().unwrap())).collect();
        assert!(untold.is_empty(), "docs/{} says nothing of {untold:?}", row.page);
    }
}

/// All pages: those of the root, and docs/ with its folders.
fn pages() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("docs")];
    let markdown = |path: &Path| path.extension().is_some_and(|e| e == "md");
    found.extend(fs::read_dir(root()).unwrap().map(|e| e.unwrap().path()).filter(|path| markdown(path)));
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if markdown(&path) {
                found.push(path);
            }
        }
    }
    found
}

/// A page without its blocks of code.
fn prose(page: &str) -> String {
    let mut code = false;
    let kept = page.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        !code && !fence
    });
    kept.collect::<Vec<_>>().join("\n")
}

/// The anchors of a page, as GitHub makes them of headings.
fn anchors(page: &str) -> Vec<String> {
    let prose = prose(page);
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let slug = |heading: &str| {
        let kept =
            heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
        kept.replace(' ', "-")
    };
    headings.map(slug).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        let prose = prose(&fs::read_to_string(&page).unwrap());
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            let found = match anchor {
                "" => target.exists(),
                anchor => fs::read_to_string(&target).is_ok_and(|page| anchors(&page).iter().any(|a| a == anchor)),
            };
            if !found {
                wrong.push(format!("{}: {link}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n{}", wrong.join("\n"));
}
