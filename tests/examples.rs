//! Every manifest under examples/ passes `headgate check`, alone and all together. What they do on the wire is tested
//! in e2e/examples_served.rs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{fs, path::PathBuf, process::Command};

fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn manifests() -> Vec<PathBuf> {
    let files = fs::read_dir(examples()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|f| f.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

#[track_caller]
fn check(path: PathBuf) {
    let output = Command::new(env!("CARGO_BIN_EXE_headgate")).arg("check").arg(&path).output().unwrap();
    let (said, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{}:\n{said}{error}", path.display());
}

#[test]
fn each_is_clean() {
    manifests().into_iter().for_each(check);
}

#[test]
fn all_together_are_clean() {
    check(examples());
}

#[test]
fn each_says_what_it_shows_and_how_to_try_it() {
    for file in manifests() {
        let text = fs::read_to_string(&file).unwrap();
        let header: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(header.len() >= 3, "{name}: a comment at the top");
        assert!(header.iter().any(|line| line.contains("curl ")), "{name}: a curl line to try");
        assert!(header.iter().any(|line| line.contains(&format!("--manifests examples/{name}"))), "{name}: how to run");
    }
}
