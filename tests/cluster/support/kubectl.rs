//! The real kubectl, as the administrator.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

/// Runs kubectl.
#[derive(Debug)]
pub(crate) struct Kubectl {
    pub(crate) program: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    /// Where it keeps what it has discovered.
    pub(crate) home: PathBuf,
}

impl Kubectl {
    /// Runs it to its end, with this on its standard input.
    pub(crate) fn output(&self, args: &[&str], stdin: &str) -> Output {
        let mut command = Command::new(&self.program);
        command.args(args).env("KUBECONFIG", &self.kubeconfig).env("HOME", &self.home);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kubectl");
        let mut pipe = child.stdin.take().unwrap();
        let stdin = stdin.to_owned();
        // Beside it, for it may write before it has read everything.
        let writer = std::thread::spawn(move || {
            let _ = pipe.write_all(stdin.as_bytes());
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output
    }

    /// What it prints, if it succeeds.
    ///
    /// # Errors
    /// What it says on standard error.
    pub(crate) fn attempt(&self, args: &[&str], stdin: &str) -> Result<String, String> {
        let output = self.output(args, stdin);
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// What it prints; it must succeed.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str], stdin: &str) -> String {
        match self.attempt(args, stdin) {
            Ok(printed) => printed,
            Err(said) => panic!("kubectl {}: {said}", args.join(" ")),
        }
    }
}
