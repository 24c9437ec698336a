//! A child process whose output goes to a file and whose end is known as soon as it comes. Killed on drop, by its id.

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::Instant,
};

use tokio::sync::watch;

/// How and when a process ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit {
    pub(crate) status: ExitStatus,
    pub(crate) at: Instant,
}

/// A running or ended process.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    exit: watch::Receiver<Option<Exit>>,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it writes is appended to `log`.
    pub(crate) fn spawn(command: &mut Command, log: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log)?;
        let mut child =
            command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn().map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", command.get_program().to_string_lossy()))
            })?;
        let (ended, exit) = watch::channel(None);
        let pid = child.id();
        std::thread::spawn(move || {
            if let Ok(status) = child.wait() {
                ended.send_replace(Some(Exit { status, at: Instant::now() }));
            }
        });
        Ok(Self { pid, exit, log: log.to_owned() })
    }

    /// Its id, in the namespace of the tests.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Its end.
    pub(crate) async fn ended(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.expect("a thread waits for its end");
        ended.expect("waited for")
    }

    /// Sends a signal (`TERM`, `KILL`, `STOP`, …), unless it has ended.
    pub(crate) fn signal(&self, name: &str) {
        if self.exit().is_none() {
            // The shell's own kill: a program of that name is not everywhere.
            let script = format!("kill -{name} {}", self.pid);
            let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status();
        }
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal("KILL");
    }
}
