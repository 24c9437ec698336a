//! An overlay of a test's own, as its users write them: a folder with a kustomization beside deploy/.

use std::path::Path;

use tempfile::TempDir;

/// The folder; gone on drop.
pub(crate) struct Overlay(TempDir);

impl Overlay {
    /// With this kustomization, in which `DEPLOY` stands for deploy/.
    pub(crate) fn new(kustomization: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // kustomize takes no absolute path, and `..` of the root is the root.
        let deploy = format!("{}{}/deploy", "../".repeat(32), env!("CARGO_MANIFEST_DIR").trim_start_matches('/'));
        let text = kustomization.replace("DEPLOY", &deploy);
        std::fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
        Self(folder)
    }

    /// What [`super::Deployed::apply`] takes in place of a folder of deploy/.
    pub(crate) fn path(&self) -> &str {
        let path: &Path = self.0.path();
        path.to_str().unwrap()
    }
}
