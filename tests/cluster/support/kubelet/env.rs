//! A container's environment and arguments, with what they take from the pod, ConfigMaps and Secrets.

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, Pod, Secret};
use kube::{Api, ResourceExt as _};

use super::{
    super::{control_plane, network::NODE},
    Host, NODE_NAME, Record,
};

/// Names and values, in order.
///
/// # Errors
/// What is missing, or what this kubelet doesn't know.
pub(super) async fn of(
    host: &Host,
    record: &Record,
    container: &Container,
    pod: &Pod,
) -> Result<Vec<(String, String)>, String> {
    let mut env = vec![
        ("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin".to_owned()),
        ("HOSTNAME".to_owned(), record.name.clone()),
        ("KUBERNETES_SERVICE_HOST".to_owned(), NODE.to_string()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), control_plane::PORT.to_string()),
    ];
    for variable in container.env.iter().flatten() {
        if let Some(value) = value(host, record, variable, pod).await? {
            let value = expand(&value, &env);
            env.push((variable.name.clone(), value));
        }
    }
    Ok(env)
}

/// Replaces `$(NAME)` where NAME is known, as Kubernetes does in arguments.
pub(super) fn expand(text: &str, env: &[(String, String)]) -> String {
    env.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("$({name})"), value))
}

/// A field of the pod, by its path in the downward API.
///
/// # Errors
/// A path that this kubelet doesn't know.
pub(super) fn field(path: &str, pod: &Pod, record: &Record) -> Result<String, String> {
    let keyed = |kind: &str| path.strip_prefix(kind)?.strip_prefix("['")?.strip_suffix("']");
    if let Some(key) = keyed("metadata.labels") {
        return Ok(pod.labels().get(key).cloned().unwrap_or_default());
    }
    if let Some(key) = keyed("metadata.annotations") {
        return Ok(pod.annotations().get(key).cloned().unwrap_or_default());
    }
    let account = || pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    Ok(match path {
        "metadata.name" => record.name.clone(),
        "metadata.namespace" => record.namespace.clone(),
        "metadata.uid" => record.uid.clone(),
        "spec.nodeName" => NODE_NAME.to_owned(),
        "spec.serviceAccountName" => account().unwrap_or_default(),
        "status.podIP" | "status.podIPs" => record.address.to_string(),
        "status.hostIP" | "status.hostIPs" => NODE.to_string(),
        other => return Err(format!("fieldRef {other}: unknown to the tests' kubelet")),
    })
}

async fn value(host: &Host, record: &Record, variable: &EnvVar, pod: &Pod) -> Result<Option<String>, String> {
    let Some(source) = &variable.value_from else { return Ok(Some(variable.value.clone().unwrap_or_default())) };
    if let Some(reference) = &source.field_ref {
        return field(&reference.field_path, pod, record).map(Some);
    }
    let missing = |kind: &str, name: &str, key: &str| format!("{}: no key {key} in {kind} {name}", variable.name);
    if let Some(reference) = &source.config_map_key_ref {
        let api: Api<ConfigMap> = Api::namespaced(host.client.clone(), &record.namespace);
        let map = api.get_opt(&reference.name).await.map_err(|error| error.to_string())?;
        let found = map.and_then(|map| map.data?.remove(&reference.key));
        return optional(found, reference.optional, || missing("ConfigMap", &reference.name, &reference.key));
    }
    if let Some(reference) = &source.secret_key_ref {
        let api: Api<Secret> = Api::namespaced(host.client.clone(), &record.namespace);
        let secret = api.get_opt(&reference.name).await.map_err(|error| error.to_string())?;
        let found = secret.and_then(|secret| secret.data?.remove(&reference.key));
        let found = found.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
        return optional(found, reference.optional, || missing("Secret", &reference.name, &reference.key));
    }
    Err(format!("env {}: a source that the tests' kubelet doesn't know", variable.name))
}

fn optional(
    found: Option<String>,
    optional: Option<bool>,
    missing: impl FnOnce() -> String,
) -> Result<Option<String>, String> {
    match found {
        None if optional == Some(true) => Ok(None),
        None => Err(missing()),
        found => Ok(found),
    }
}
