//! What deploy/ and the Dockerfile say, held against the program and against itself, without kubectl, Helm or a cluster:
//! flags and their values, ports, rights, names, labels, the copy of the CRD. What kubectl and Helm make of it:
//! deploy/check; what a real API server says: tests/cluster.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Namespace, Service, ServiceAccount},
    networking::v1::IngressClass,
    policy::v1::PodDisruptionBudget,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use serde_json::Value;

/// What Headgate may do in the whole cluster. A change here is a change of what people trust it with: docs and
/// tests/cluster say what each line is for.
const CLUSTER_RULES: [&str; 11] = [
    "networking.k8s.io ingressclasses: list watch",
    "apiextensions.k8s.io customresourcedefinitions [middlewares.traefik.io]: list watch",
    "networking.k8s.io ingresses: list watch",
    "core services: list watch",
    "discovery.k8s.io endpointslices: list watch",
    "core secrets: list watch",
    "traefik.io middlewares: list watch",
    "traefik.io serverstransports: list watch",
    "traefik.io tlsoptions: list watch",
    "networking.k8s.io ingresses/status: patch",
    "events.k8s.io events: create patch",
];
/// How many of these are for what is in no namespace: they come first, and stay when the rest is narrowed.
const CLUSTER_SCOPED: usize = 2;
/// What it may do in its own namespace.
const OWN_RULES: [&str; 4] = [
    "coordination.k8s.io leases: create",
    "coordination.k8s.io leases [headgate]: get update",
    "core secrets: create",
    "core secrets [headgate-cookie-keys]: list watch",
];
/// What components/nodeport adds.
const NODE_RULES: [&str; 1] = ["core nodes: list"];
/// What components/namespaced adds in its own namespace.
const PUBLISHED_RULE: &str = "core services [headgate]: list watch";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the repository.
#[track_caller]
fn text(file: impl AsRef<Path>) -> String {
    let file = root().join(file);
    fs::read_to_string(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()))
}

/// The YAML documents of a file of the repository.
#[track_caller]
fn documents(file: impl AsRef<Path>) -> Vec<Value> {
    let read = serde_saphyr::from_multiple(&text(&file));
    read.unwrap_or_else(|why| panic!("{}: {why}", file.as_ref().display()))
}

/// Every file below a folder, as paths from the repository's root.
fn files(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(&folder)).unwrap() {
        let path = folder.as_ref().join(entry.unwrap().file_name());
        if root().join(&path).is_dir() {
            found.extend(files(path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn is_yaml(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending == "yaml")
}

/// Files of deploy/ that are YAML as they stand. Helm's templates become it.
fn manifests() -> Vec<PathBuf> {
    files("deploy")
        .into_iter()
        .filter(|file| is_yaml(file) && !file.starts_with(CHART.to_owned() + "/templates"))
        .collect()
}

const CHART: &str = "deploy/helm/headgate";

/// The one object of this kind in a folder.
#[track_caller]
fn object(folder: &str, kind: &str) -> Value {
    let all = files(folder).into_iter().filter(|file| is_yaml(file)).flat_map(documents);
    let mut found: Vec<Value> = all.filter(|object| object["kind"] == kind && object["$patch"].is_null()).collect();
    assert_eq!(found.len(), 1, "{folder}: {kind}");
    found.remove(0)
}

fn pod() -> Value {
    object("deploy/base", "Deployment")["spec"]["template"].take()
}

fn container() -> Value {
    pod()["spec"]["containers"][0].take()
}

#[track_caller]
fn strings(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

/// The arguments of the base, with the value that the kubelet would put in.
fn base_arguments() -> Vec<String> {
    strings(&container()["args"]).into_iter().map(|arg| arg.replace("$(POD_NAMESPACE)", "headgate")).collect()
}

/// The arguments that components add.
fn added_arguments() -> Vec<String> {
    let patches = manifests().into_iter().filter(|file| file.starts_with("deploy/components"));
    let operations = patches.flat_map(documents).filter_map(|document| document.as_array().cloned()).flatten();
    let added = operations.filter(|op| op["op"] == "add" && op["path"].as_str().unwrap().ends_with("/args/-"));
    added.map(|op| op["value"].as_str().unwrap().to_owned()).collect()
}

/// The value of a flag of the base.
#[track_caller]
fn flag(name: &str) -> String {
    let start = format!("--{name}=");
    let all = base_arguments();
    all.iter().find_map(|arg| arg.strip_prefix(&start)).unwrap_or_else(|| panic!("{start}")).to_owned()
}

fn headgate<A: AsRef<std::ffi::OsStr>>(args: &[A]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_headgate")).args(args).output().unwrap()
}

fn help() -> String {
    let output = headgate(&["run", "--help"]);
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Whatever looks like a long flag in a text.
fn flags_in(text: &str) -> BTreeSet<&str> {
    let starts = text.match_indices("--").filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        !before.is_some_and(|c| c == '-' || c.is_ascii_alphanumeric())
    });
    let flags = starts.map(|(at, _)| {
        let name = &text[at + 2..];
        let end = name.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '-');
        name[..end.unwrap_or(name.len())].trim_end_matches('-')
    });
    flags.filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())).collect()
}

#[test]
fn each_flag_named_is_one_of_run() {
    let help = help();
    let known: BTreeSet<&str> =
        help.lines().filter(|line| line.trim_start().starts_with('-')).flat_map(flags_in).collect();
    for file in files("deploy") {
        if is_yaml(&file) || file.extension().is_some_and(|ending| ending == "tpl") {
            for flag in flags_in(&text(&file)) {
                assert!(known.contains(flag), "{}: `headgate run` has no --{flag}", file.display());
            }
        }
    }
}

#[test]
fn the_arguments_are_accepted() {
    // Every argument is read, value and all, before --help ends it.
    let accepted = |args: &[String]| headgate(&[args, &["--help".to_owned()]].concat()).status.success();
    let mut args = base_arguments();
    assert_eq!(args[0], "run");
    assert!(accepted(&args), "{args:?}");
    let added = added_arguments();
    assert_eq!(added.len(), 4, "{added:?}");
    args.extend(added);
    assert!(accepted(&args), "{args:?}");
    args.push("--http=nowhere".to_owned());
    assert!(!accepted(&args), "wrong values are told from right ones");
}

#[test]
fn each_file_is_named_and_each_name_is_a_file() {
    for folder in
        [&["crds".into()][..], &folders("deploy/base"), &folders("deploy/components"), &folders("deploy/overlays")]
            .concat()
    {
        let file = folder.join("kustomization.yaml");
        let kustomization = &documents(&file)[0];
        let mut named = BTreeSet::from(["kustomization.yaml".to_owned()]);
        for key in ["resources", "components"] {
            named.extend(kustomization[key].as_array().into_iter().flatten().map(|v| v.as_str().unwrap().to_owned()));
        }
        let patches = kustomization["patches"].as_array().into_iter().flatten();
        // A patch may stand in the file itself.
        named.extend(patches.filter_map(|patch| patch["path"].as_str().map(str::to_owned)));
        for name in &named {
            let path = root().join(&folder).join(name);
            assert!(path.is_file() || path.join("kustomization.yaml").is_file(), "{}: {name}", file.display());
        }
        for name in files(&folder) {
            let name = name.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(named.contains(&name), "{} does not name {name}", file.display());
        }
    }
}

/// The folder itself, or those in it, that have a kustomization.
fn folders(folder: &str) -> Vec<PathBuf> {
    let all = files(folder).into_iter().filter(|file| file.ends_with("kustomization.yaml"));
    all.map(|file| file.parent().unwrap().to_owned()).collect()
}

/// (name, port) of the container.
fn container_ports() -> Vec<(String, u64)> {
    let ports = container()["ports"].take();
    let ports = ports.as_array().unwrap().iter();
    ports.map(|p| (p["name"].as_str().unwrap().to_owned(), p["containerPort"].as_u64().unwrap())).collect()
}

#[test]
fn ports_are_those_of_the_flags() {
    let bound = [("web", "http"), ("websecure", "https"), ("health", "health")].map(|(port, name)| {
        let address: std::net::SocketAddr = flag(name).parse().unwrap();
        assert!(address.ip().is_unspecified() && address.port() >= 1024, "{address}");
        (port.to_owned(), u64::from(address.port()))
    });
    assert_eq!(container_ports(), bound);
    for (probe, path) in [("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")] {
        let get = &container()[probe]["httpGet"];
        assert_eq!((&get["port"], &get["path"]), (&"health".into(), &path.into()), "{probe}");
    }
    let service = object("deploy/base", "Service");
    let ports: Vec<_> =
        service["spec"]["ports"].as_array().unwrap().iter().map(|p| (&p["targetPort"], &p["port"])).collect();
    assert_eq!(ports, [(&"web".into(), &80.into()), (&"websecure".into(), &443.into())]);
    let exposed = text("Dockerfile");
    let exposed = exposed.lines().find_map(|line| line.strip_prefix("EXPOSE ")).unwrap();
    assert_eq!(exposed, bound.map(|(_, port)| port.to_string()).join(" "));
}

/// Each rule of a Role as a line: group, resources, names, verbs.
#[track_caller]
fn lines(rules: &Value) -> Vec<String> {
    let line = |rule: &Value| {
        let groups = strings(&rule["apiGroups"]).join(",");
        let names =
            rule["resourceNames"].as_array().map(|_| format!(" [{}]", strings(&rule["resourceNames"]).join(",")));
        format!(
            "{} {}{}: {}",
            if groups.is_empty() { "core" } else { &groups },
            strings(&rule["resources"]).join(","),
            names.unwrap_or_default(),
            strings(&rule["verbs"]).join(" ")
        )
    };
    rules.as_array().unwrap().iter().map(line).collect()
}

#[test]
fn rights_are_these_and_no_others() {
    let base = "deploy/base";
    assert_eq!(lines(&object(base, "ClusterRole")["rules"]), CLUSTER_RULES);
    assert_eq!(lines(&object(base, "Role")["rules"]), OWN_RULES);
    let namespaced = "deploy/components/namespaced";
    let (everywhere, watched) = CLUSTER_RULES.split_at(CLUSTER_SCOPED);
    assert_eq!(lines(&object(namespaced, "ClusterRole")["rules"]), everywhere);
    assert_eq!(lines(&object(namespaced, "Role")["rules"]), watched);
    let added = &documents("deploy/components/namespaced/role.yaml")[0][0]["value"];
    assert_eq!(lines(&Value::Array(vec![added.clone()])), [PUBLISHED_RULE]);
    assert_eq!(lines(&object("deploy/components/nodeport", "ClusterRole")["rules"]), NODE_RULES);
}

#[test]
fn each_right_says_why() {
    for file in files("deploy") {
        let text = text(&file);
        let all: Vec<&str> = text.lines().map(str::trim_start).collect();
        for (number, _) in all.iter().enumerate().filter(|(_, line)| line.starts_with("- apiGroups:")) {
            assert!(all[number - 1].starts_with('#'), "{}:{}: why?", file.display(), number + 1);
        }
    }
}

#[test]
fn bindings_join_what_is_there() {
    let account = object("deploy/base", "ServiceAccount");
    assert_eq!(pod()["spec"]["serviceAccountName"], account["metadata"]["name"]);
    for folder in ["deploy/base", "deploy/components/namespaced", "deploy/components/nodeport"] {
        for binding in files(folder).into_iter().flat_map(documents) {
            let Some(role) = binding["kind"].as_str().and_then(|kind| kind.strip_suffix("Binding")) else { continue };
            assert_eq!(binding["roleRef"]["kind"], role, "{folder}");
            let role = object(folder, role);
            assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"], "{folder}");
            assert_eq!(binding["metadata"]["namespace"], role["metadata"]["namespace"], "{folder}");
            let subject = &binding["subjects"][0];
            assert_eq!(subject["name"], account["metadata"]["name"], "{folder}");
            assert_eq!(subject["namespace"], account["metadata"]["namespace"], "{folder}");
        }
    }
}

#[test]
fn names_in_flags_are_names_of_objects() {
    let lease = flag("leader-lease");
    assert!(OWN_RULES.contains(&format!("coordination.k8s.io leases [{lease}]: get update").as_str()), "{lease}");
    let secret = flag("cookie-keys-secret");
    assert!(OWN_RULES.contains(&format!("core secrets [{secret}]: list watch").as_str()), "{secret}");
    let service = object("deploy/base", "Service");
    let name = |key: &str| service["metadata"][key].as_str().unwrap().to_owned();
    assert_eq!(flag("publish-service"), format!("{}/{}", name("namespace"), name("name")));
    let watched = object("deploy/components/namespaced", "Role")["metadata"]["namespace"].take();
    let watched = format!("--watch-namespace={}", watched.as_str().unwrap());
    assert!(added_arguments().contains(&watched), "{watched}");
}

#[test]
fn classes_have_controllers_that_are_served() {
    let ours = object("deploy/base", "IngressClass")["spec"]["controller"].take();
    assert!(help().contains(&format!("default: {}", ours.as_str().unwrap())), "{ours}");
    let traefik = object("deploy/components/replace-traefik", "IngressClass");
    assert_eq!(traefik["metadata"]["name"], "traefik");
    let both =
        format!("--controller-name={},{}", ours.as_str().unwrap(), traefik["spec"]["controller"].as_str().unwrap());
    assert!(added_arguments().contains(&both), "{both}");
    assert!(traefik["metadata"]["labels"].is_null(), "removing Headgate by label leaves Traefik's class");
}

#[test]
fn selectors_find_the_pods() {
    let labels = pod()["metadata"]["labels"].take();
    let deployment = object("deploy/base", "Deployment");
    assert_eq!(deployment["spec"]["selector"]["matchLabels"], labels);
    assert_eq!(object("deploy/base", "Service")["spec"]["selector"], labels);
    assert_eq!(object("deploy/base", "PodDisruptionBudget")["spec"]["selector"]["matchLabels"], labels);
    let spread = &pod()["spec"]["topologySpreadConstraints"][0];
    assert_eq!(spread["labelSelector"]["matchLabels"], labels);
    assert_eq!(spread["whenUnsatisfiable"], "ScheduleAnyway");
}

/// The fields of an object that its type does not know.
fn unknown<T: serde::de::DeserializeOwned>(object: &Value) -> Vec<String> {
    let mut unknown = Vec::new();
    let read: Result<T, _> = serde_ignored::deserialize(object, |path| unknown.push(path.to_string()));
    assert!(read.is_ok(), "{object}: {:?}", read.err());
    unknown
}

#[test]
fn each_field_is_one_of_its_kind() {
    let mut seen = 0;
    for object in ["deploy/base", "deploy/components"].into_iter().flat_map(files).flat_map(documents) {
        let unknown = match object["kind"].as_str() {
            _ if object["$patch"].is_string() => continue,
            Some("Namespace") => unknown::<Namespace>(&object),
            Some("ServiceAccount") => unknown::<ServiceAccount>(&object),
            Some("ClusterRole") => unknown::<ClusterRole>(&object),
            Some("ClusterRoleBinding") => unknown::<ClusterRoleBinding>(&object),
            Some("Role") => unknown::<Role>(&object),
            Some("RoleBinding") => unknown::<RoleBinding>(&object),
            Some("IngressClass") => unknown::<IngressClass>(&object),
            Some("Deployment") => unknown::<Deployment>(&object),
            Some("Service") => unknown::<Service>(&object),
            Some("PodDisruptionBudget") => unknown::<PodDisruptionBudget>(&object),
            Some("Kustomization" | "Component") | None => continue,
            Some(kind) => panic!("{kind}: add its type here"),
        };
        assert_eq!(unknown, Vec::<String>::new(), "{}", object["kind"]);
        seen += 1;
    }
    assert!(seen >= 10, "{seen}");
}

/// `kubectl delete -k deploy/base -l …` removes what carries our label: all of ours, and never the CRD, with which every
/// Middleware of the cluster would go.
#[test]
fn our_label_is_on_all_that_is_only_ours() {
    let ours = "app.kubernetes.io/name";
    for folder in [folders("deploy/base"), folders("deploy/components")].concat() {
        let resources = documents(folder.join("kustomization.yaml"))[0]["resources"].take();
        let resources = resources.as_array().into_iter().flatten().map(|name| folder.join(name.as_str().unwrap()));
        for object in resources.filter(|file| is_yaml(file)).flat_map(documents) {
            let labelled = object["metadata"]["labels"][ours] == "headgate";
            assert_eq!(labelled, object["metadata"]["name"] != "traefik", "{} {}", object["kind"], object["metadata"]);
        }
    }
    for crd in files("crds").iter().flat_map(documents) {
        assert!(crd["metadata"]["labels"][ours].is_null());
    }
}

/// Pod security standard `restricted`, and more: a root file system that can't be written, no token but the pod's own.
#[test]
fn pods_are_restricted() {
    let pod = &pod()["spec"];
    let expected = serde_json::json!({
        "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": { "type": "RuntimeDefault" },
    });
    assert_eq!(pod["securityContext"], expected);
    let expected = serde_json::json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
    });
    assert_eq!(container()["securityContext"], expected);
    for key in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
        assert!(pod[key].is_null(), "{key}");
    }
    // What it may write: a place for bodies that are kept.
    assert_eq!(pod["volumes"], serde_json::json!([{ "name": "tmp", "emptyDir": { "sizeLimit": "5Gi" } }]));
    assert_eq!(container()["volumeMounts"], serde_json::json!([{ "name": "tmp", "mountPath": "/tmp" }]));
    assert_eq!(pod["enableServiceLinks"], false);
    assert_eq!(pod["automountServiceAccountToken"], true);
    assert_eq!(object("deploy/base", "ServiceAccount")["automountServiceAccountToken"], false);
    let namespace = object("deploy/base", "Namespace");
    assert_eq!(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    assert!(text("Dockerfile").contains("\nUSER 65532:65532\n"));
}

/// Longer, and `kubectl apply` without --server-side is refused: it keeps the whole object in an annotation.
const LAST_APPLIED_LIMIT: usize = 262_144;

#[test]
fn the_chart_has_the_crds() {
    for file in files("crds").into_iter().filter(|file| !file.ends_with("kustomization.yaml")) {
        let copy = Path::new(CHART).join(&file);
        if std::env::var_os("HEADGATE_BLESS").is_some_and(|v| v == "1") {
            fs::copy(root().join(&file), root().join(&copy)).unwrap();
        }
        let copied = text(&copy) == text(&file);
        assert!(copied, "{} is out of date: run `HEADGATE_BLESS=1 cargo test --test deploy crds`", copy.display());
        for crd in documents(&file) {
            assert!(crd.to_string().len() < LAST_APPLIED_LIMIT, "{}: too long to be applied", file.display());
        }
    }
    assert_eq!(files(Path::new(CHART).join("crds")).len(), files("crds").len() - 1);
}

#[test]
fn versions_are_the_crates() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(container()["image"], format!("headgate:{version}"));
    let chart = &documents(Path::new(CHART).join("Chart.yaml"))[0];
    assert_eq!((&chart["version"], &chart["appVersion"]), (&version.into(), &version.into()));
    // No registry: nothing is published yet.
    assert_eq!(documents(Path::new(CHART).join("values.yaml"))[0]["image"]["repository"], "headgate");
}

#[test]
fn the_schema_of_the_values_knows_each_of_them() {
    let schema: Value = serde_json::from_str(&text(Path::new(CHART).join("values.schema.json"))).unwrap();
    let values = documents(Path::new(CHART).join("values.yaml")).remove(0);
    for (key, value) in values.as_object().unwrap() {
        let known = &schema["properties"][key];
        assert!(known.is_object(), "{key}");
        for inner in value.as_object().into_iter().flatten().map(|(inner, _)| inner) {
            let open = known["properties"].is_null() && known["additionalProperties"] != false;
            assert!(open || known["properties"][inner].is_object(), "{key}.{inner}");
        }
    }
}

/// The image is built from what .dockerignore lets through: it must hold what the Dockerfile copies and the sources
/// include.
#[test]
fn the_image_is_built_from_what_is_let_through() {
    let ignore = text(".dockerignore");
    let through: BTreeSet<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignore.lines().any(|line| line == "*"));
    let dockerfile = text("Dockerfile");
    let copies =
        dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--"));
    let copied: BTreeSet<&str> = copies
        .flat_map(|line| {
            let mut words: Vec<&str> = line.split_whitespace().collect();
            words.pop();
            words
        })
        .collect();
    assert_eq!(copied, through);
    for source in files("src").into_iter().filter(|file| file.extension().is_some_and(|ending| ending == "rs")) {
        let text = text(&source);
        for included in text.split("include_str!(\"").skip(1) {
            let included = source.parent().unwrap().join(included.split('"').next().unwrap());
            let resolved = root().join(&included).canonicalize().unwrap();
            let inside = resolved.starts_with(root().join("src").canonicalize().unwrap());
            assert!(inside, "{}: {} is not in the image's sources", source.display(), included.display());
        }
    }
}
