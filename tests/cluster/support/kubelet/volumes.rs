//! A pod's volumes as folders: emptyDir, and ConfigMaps, Secrets, fields and tokens as they are when the pod starts.
//! They outlive its containers, as a real kubelet's do, so that a container starts again while the API server is away.
//! Unlike a real kubelet's they don't follow later changes.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path, path::PathBuf};

use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{
        ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccount, ServiceAccountTokenProjection,
        Volume, VolumeProjection,
    },
};
use kube::{Api, api::PostParams};

use super::{Host, Record, env};

/// Files by their path in the volume.
type Files = BTreeMap<String, Vec<u8>>;

/// Makes the pod's volumes below `dir`: the folder of each, by name.
///
/// # Errors
/// What is missing, or what this kubelet doesn't know.
pub(super) async fn make(
    host: &Host,
    record: &Record,
    pod: &Pod,
    dir: &Path,
) -> Result<BTreeMap<String, PathBuf>, String> {
    let mut made = BTreeMap::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let folder = dir.join(&volume.name);
        if !folder.exists() {
            let files =
                files(host, record, pod, volume).await.map_err(|why| format!("volume {}: {why}", volume.name))?;
            write(&folder, &files).map_err(|error| format!("volume {}: {error}", volume.name))?;
        }
        made.insert(volume.name.clone(), folder);
    }
    Ok(made)
}

fn write(folder: &Path, files: &Files) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    // As an emptyDir is: any user of the pod may write.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777))?;
    for (path, bytes) in files {
        let file = folder.join(path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&file, bytes)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

async fn files(host: &Host, record: &Record, pod: &Pod, volume: &Volume) -> Result<Files, String> {
    if volume.empty_dir.is_some() {
        return Ok(Files::new());
    }
    if let Some(source) = &volume.config_map {
        return config_map(host, record, &source.name, source.items.as_deref(), source.optional).await;
    }
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        return secret(host, record, name, source.items.as_deref(), source.optional).await;
    }
    if let Some(source) = &volume.downward_api {
        return fields(source.items.as_deref(), pod, record);
    }
    let Some(projected) = &volume.projected else { return Err("a kind that the tests' kubelet doesn't know".into()) };
    let mut all = Files::new();
    for source in projected.sources.iter().flatten() {
        all.extend(projection(host, record, pod, source).await?);
    }
    Ok(all)
}

async fn projection(host: &Host, record: &Record, pod: &Pod, source: &VolumeProjection) -> Result<Files, String> {
    if let Some(token_of) = &source.service_account_token {
        let token = token(host, record, pod, token_of).await?;
        return Ok(Files::from([(token_of.path.clone(), token.into_bytes())]));
    }
    if let Some(map) = &source.config_map {
        return config_map(host, record, &map.name, map.items.as_deref(), map.optional).await;
    }
    if let Some(of) = &source.secret {
        return secret(host, record, &of.name, of.items.as_deref(), of.optional).await;
    }
    match &source.downward_api {
        Some(source) => fields(source.items.as_deref(), pod, record),
        None => Err("a projection that the tests' kubelet doesn't know".into()),
    }
}

/// A token bound to the pod, as a real kubelet asks for; not renewed, for no test lasts that long.
async fn token(host: &Host, record: &Record, pod: &Pod, of: &ServiceAccountTokenProjection) -> Result<String, String> {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref()).unwrap_or("default");
    let api: Api<ServiceAccount> = Api::namespaced(host.client.clone(), &record.namespace);
    let bound = BoundObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: Some(record.name.clone()),
        uid: Some(record.uid.clone()),
    };
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: of.audience.clone().into_iter().collect(),
            bound_object_ref: Some(bound),
            expiration_seconds: of.expiration_seconds,
        },
        ..Default::default()
    };
    let made = api.create_token_request(account, &PostParams::default(), &request).await;
    let made = made.map_err(|error| format!("token of {account}: {error}"))?;
    made.status.map(|status| status.token).ok_or_else(|| "no token in the answer".to_owned())
}

async fn config_map(
    host: &Host,
    record: &Record,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
) -> Result<Files, String> {
    let api: Api<ConfigMap> = Api::namespaced(host.client.clone(), &record.namespace);
    match api.get_opt(name).await.map_err(|error| error.to_string())? {
        Some(map) => {
            let text = map.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
            let bytes = map.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0));
            select(text.chain(bytes).collect(), items)
        }
        None if optional == Some(true) => Ok(Files::new()),
        None => Err(format!("no ConfigMap {name}")),
    }
}

async fn secret(
    host: &Host,
    record: &Record,
    name: &str,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
) -> Result<Files, String> {
    let api: Api<Secret> = Api::namespaced(host.client.clone(), &record.namespace);
    match api.get_opt(name).await.map_err(|error| error.to_string())? {
        Some(secret) => select(secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect(), items),
        None if optional == Some(true) => Ok(Files::new()),
        None => Err(format!("no Secret {name}")),
    }
}

fn select(mut data: Files, items: Option<&[KeyToPath]>) -> Result<Files, String> {
    let Some(items) = items else { return Ok(data) };
    let take = |item: &KeyToPath| match data.remove(&item.key) {
        Some(bytes) => Ok((item.path.clone(), bytes)),
        None => Err(format!("no key {}", item.key)),
    };
    items.iter().map(take).collect()
}

fn fields(items: Option<&[DownwardAPIVolumeFile]>, pod: &Pod, record: &Record) -> Result<Files, String> {
    let take = |item: &DownwardAPIVolumeFile| match &item.field_ref {
        Some(reference) => Ok((item.path.clone(), env::field(&reference.field_path, pod, record)?.into_bytes())),
        None => Err("resourceFieldRef: unknown to the tests' kubelet".to_owned()),
    };
    items.unwrap_or_default().iter().map(take).collect()
}
