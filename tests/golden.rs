//! What manifests come to, word for word: each folder of tests/compile/ holds `in.yaml` and, in `expected.txt`, what
//! `headgate check in.yaml` says of it (exit status, table, diagnostics).
//!
//! Comments at the top of `in.yaml` ask for more, one to a line:
//! - `# flags: --allow-external-name` gives flags to every command of the case;
//! - `# explain: https://app.example.com/path` adds what `headgate explain … GET URL` says: who takes the request,
//!   why the others that match do not, by what endpoints.
//!
//! `HEADGATE_BLESS=1 cargo test --test golden` writes every `expected.txt` anew. That alone proves nothing: read the
//! diff, and judge it by the contract.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::{
    env, fs,
    num::NonZero,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

/// Exit status and standard output of the binary, run in the folder of the case, so that origins are `in.yaml:LINE`.
fn headgate(case: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    command.args(arguments).current_dir(case);
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEADGATE_")) {
        command.env_remove(name);
    }
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.is_empty(), "{}: headgate {}: {error}", case.display(), arguments.join(" "));
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// What a case comes to.
fn said(case: &Path) -> String {
    let manifest = fs::read_to_string(case.join("in.yaml")).unwrap();
    let asked = |what: &str| -> Vec<String> {
        let comments = manifest.lines().map_while(|line| line.strip_prefix("# "));
        comments.filter_map(|comment| comment.strip_prefix(what)).map(|rest| rest.trim().to_owned()).collect()
    };
    let flags = asked("flags:").join(" ");
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let (status, table) = headgate(case, &[&["check"], flags.as_slice(), &["in.yaml"]].concat());
    let mut text = format!("exit status: {status}\n{table}");
    for url in asked("explain:") {
        let arguments = [&["explain", "--manifests", "in.yaml"], flags.as_slice(), &["GET", &url]].concat();
        let (status, why) = headgate(case, &arguments);
        assert_eq!(status, 0, "{}: {}", case.display(), arguments.join(" "));
        text.push_str(&format!("\n$ {url}\n{why}"));
    }
    text
}

/// What each case comes to, several at a time.
fn all_said(cases: &[PathBuf]) -> Vec<String> {
    let some = cases.len().div_ceil(thread::available_parallelism().map_or(1, NonZero::get)).max(1);
    thread::scope(|scope| {
        let work = |some| scope.spawn(move || <[PathBuf]>::iter(some).map(|case| said(case)).collect::<Vec<_>>());
        let threads: Vec<_> = cases.chunks(some).map(work).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// The lines that differ, each with its neighbours: `-` for what was expected, `+` for what came instead.
fn diff(expected: &str, got: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), got.lines().collect());
    // Lengths of the longest common subsequences of what is left of both from here on.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] =
                if old[i] == new[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut all) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        all.push(if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
            (' ', old[i - 1])
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            i += 1;
            ('-', old[i - 1])
        } else {
            j += 1;
            ('+', new[j - 1])
        });
    }
    let near = |at: usize| all[at.saturating_sub(1)..all.len().min(at + 2)].iter().any(|(sign, _)| *sign != ' ');
    let shown = all.iter().enumerate().filter(|(at, _)| near(*at));
    shown.map(|(_, (sign, line))| format!("    {sign} {line}").trim_end().to_owned() + "\n").collect()
}

#[test]
fn every_case_is_as_expected() {
    let bless = env::var_os("HEADGATE_BLESS").is_some_and(|value| value == "1");
    let cases = cases();
    let mut wrong = Vec::new();
    for (case, got) in cases.iter().zip(all_said(&cases)) {
        let file = case.join("expected.txt");
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if got == expected {
            continue;
        }
        if bless {
            fs::write(&file, got).unwrap();
        } else {
            let name = case.file_name().unwrap().to_string_lossy();
            wrong.push(format!("{name}:\n{}", diff(&expected, &got)));
        }
    }
    assert!(!cases.is_empty());
    assert!(
        wrong.is_empty(),
        "{} of {} cases are not as expected (- expected, + got; HEADGATE_BLESS=1 accepts all that came):\n\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

#[test]
fn each_folder_is_a_case() {
    for case in cases() {
        let name = case.file_name().unwrap().to_str().unwrap();
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{name}: kebab-case");
        let mut files: Vec<_> = fs::read_dir(&case).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        files.sort();
        assert_eq!(files, ["expected.txt", "in.yaml"], "{name}");
    }
}
