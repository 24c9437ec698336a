//! The real binary, started on ports of its own choice, ended on drop by its own process id.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    client::{Answer, Client, request},
    manifests::Manifests,
    wait::{DEADLINE, eventually},
};

/// The binary under test, without the settings of whoever runs the tests.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_headgate"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HEADGATE_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// `headgate run` with these manifests, on ports of its own choice.
fn run_command(manifests: &Path, flags: &[&str]) -> Command {
    let mut command = command();
    command.arg("run").arg("--manifests").arg(manifests);
    command.args(["--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    if !flags.contains(&"--workers") {
        command.args(["--workers", "2"]);
    }
    command.args(flags);
    command
}

/// Runs a command that ends by itself; it is killed at the deadline.
#[track_caller]
pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    let mut child = command().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdout = drain(child.stdout.take().unwrap());
    let stderr = drain(child.stderr.take().unwrap());
    let status = wait(&mut child);
    if status.is_none() {
        let _ = child.kill();
    }
    let status = status.expect("the command to end by itself");
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Sends SIGTERM as soon as the first line is there, by a shell that reads the line itself: nothing is quicker.
#[track_caller]
pub(crate) fn terminated_at_once(manifests: &Path) -> ExitStatus {
    let mut child = run_command(manifests, &[]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let script = format!("read -r line && kill -TERM {}", child.id());
    let line = Stdio::from(child.stdout.take().unwrap());
    let sent = Command::new("sh").args(["-c", &script]).stdin(line).status();
    let status = wait(&mut child);
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    assert!(sent.unwrap().success(), "{script}");
    status.expect("it to end")
}

fn drain(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

fn wait(child: &mut Child) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < DEADLINE {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    None
}

/// A process of the binary; what it writes is kept.
pub(crate) struct Process {
    child: Child,
    stdout: Arc<Mutex<Stdout>>,
    /// How many lines [`Process::line`] has given.
    taken: AtomicUsize,
    stderr: Arc<Mutex<Vec<u8>>>,
}

#[derive(Default)]
struct Stdout {
    lines: Vec<String>,
    ended: bool,
}

impl Process {
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = Arc::<Mutex<Vec<u8>>>::default();
        let (mut pipe, kept) = (child.stderr.take().unwrap(), Arc::clone(&stderr));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = pipe.read(&mut piece) {
                kept.lock().unwrap().extend_from_slice(&piece[..read]);
            }
        });
        Self { child, stdout, taken: AtomicUsize::new(0), stderr }
    }

    /// The next line of standard output.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        let index = self.taken.fetch_add(1, Ordering::SeqCst);
        let mut line = None;
        eventually("a line on standard output", || {
            let stdout = self.stdout.lock().unwrap();
            line = stdout.lines.get(index).cloned();
            line.is_some() || stdout.ended
        });
        line.unwrap_or_else(|| panic!("it ended without that line; standard error:\n{}", self.stderr()))
    }

    /// Every line of standard output so far.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.stdout.lock().unwrap().lines.clone()
    }

    /// What was logged so far.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    /// Sends a signal to this process and no other.
    fn signal(&self, name: &str) {
        // The shell's own kill: a program of that name is not everywhere.
        let script = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success(), "{script}");
    }

    /// Its exit status, once it has ended.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        match wait(&mut self.child) {
            Some(status) => status,
            None => panic!("still running after {DEADLINE:?}; standard error:\n{}", self.stderr()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- standard error of headgate ---\n{}---", self.stderr());
        }
    }
}

fn lines(pipe: ChildStdout) -> Arc<Mutex<Stdout>> {
    let stdout = Arc::<Mutex<Stdout>>::default();
    let kept = Arc::clone(&stdout);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            kept.lock().unwrap().lines.push(line);
        }
        kept.lock().unwrap().ended = true;
    });
    stdout
}

/// `headgate run` with manifests of a temporary directory.
pub(crate) struct Headgate {
    process: Process,
    /// Entrypoints and `admin`, by name.
    addresses: HashMap<String, SocketAddr>,
    /// Kept as long as the process: a folder that is being taken away is a change like any other.
    _manifests: Option<Manifests>,
}

impl Headgate {
    /// With defaults.
    #[track_caller]
    pub(crate) fn start(manifests: &Manifests) -> Self {
        Self::start_with(manifests, &[])
    }

    /// With flags.
    #[track_caller]
    pub(crate) fn start_with(manifests: &Manifests, flags: &[&str]) -> Self {
        Self { _manifests: Some(manifests.clone()), ..Self::start_on(manifests.path(), flags) }
    }

    /// With the manifests of any file or directory.
    #[track_caller]
    pub(crate) fn start_on(path: &Path, flags: &[&str]) -> Self {
        let process = Process::spawn(run_command(path, flags));
        let line = process.line();
        let mut words = line.split(' ');
        assert_eq!((words.next(), words.next()), (Some("headgate"), Some(env!("CARGO_PKG_VERSION"))), "{line:?}");
        let addresses = words.map(|word| address(word, &line)).collect();
        Self { process, addresses, _manifests: None }
    }

    /// The address of an entrypoint, or of `admin`.
    #[track_caller]
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        *self.addresses.get(name).unwrap_or_else(|| panic!("no {name} among {:?}", self.addresses))
    }

    pub(crate) fn web(&self) -> SocketAddr {
        self.address("web")
    }

    pub(crate) fn websecure(&self) -> SocketAddr {
        self.address("websecure")
    }

    /// A new connection to `web`.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.web())
    }

    /// A GET over a new connection.
    #[track_caller]
    pub(crate) fn get(&self, host: &str, target: &str) -> Answer {
        self.connect().get(host, target)
    }

    /// A GET with headers over a new connection.
    #[track_caller]
    pub(crate) fn get_with(&self, host: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.connect().get_with(host, target, headers)
    }

    /// Any request over a new connection.
    #[track_caller]
    pub(crate) fn send(&self, method: &str, host: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.connect().send(request(method, target, host, headers, body)).answer()
    }

    /// A GET over a new TLS connection with the host as SNI.
    #[track_caller]
    pub(crate) fn https(&self, host: &str, target: &str) -> Answer {
        Client::tls(self.websecure(), Some(host)).get(host, target)
    }

    /// A GET of the admin server.
    #[track_caller]
    pub(crate) fn admin(&self, target: &str) -> Answer {
        let addr = self.address("admin");
        Client::connect(addr).get(&addr.to_string(), target)
    }

    /// JSON of the admin server.
    #[track_caller]
    pub(crate) fn api(&self, target: &str) -> serde_json::Value {
        let answer = self.admin(target);
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("{target}: {e}: {}", answer.text()))
    }

    /// Waits until a GET is answered so.
    #[track_caller]
    pub(crate) fn until(&self, host: &str, target: &str, what: &str, mut holds: impl FnMut(&Answer) -> bool) {
        eventually(&format!("{host}{target}: {what}"), || holds(&self.get(host, target)));
    }

    pub(crate) fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Every line written so far but the first, on either stream: the access log among them.
    pub(crate) fn log(&self) -> Vec<String> {
        let mut lines = self.process.stdout().split_off(1);
        lines.extend(self.stderr().lines().map(str::to_owned));
        lines
    }

    /// As Kubernetes ends a pod.
    pub(crate) fn sigterm(&self) {
        self.process.signal("TERM");
    }

    /// Stops it where it stands (SIGSTOP): what is sent to it queues up until [`Headgate::thaw`].
    pub(crate) fn freeze(&self) {
        self.process.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.process.signal("CONT");
    }

    /// As a person ends a program with Ctrl-C.
    pub(crate) fn interrupt(&self) {
        self.process.signal("INT");
    }

    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        self.process.wait_exit()
    }
}

/// `web=http://127.0.0.1:41234`
#[track_caller]
fn address(word: &str, line: &str) -> (String, SocketAddr) {
    let parsed = word.split_once('=').and_then(|(name, url)| {
        let addr = url.split_once("://")?.1.parse().ok()?;
        Some((name.to_owned(), addr))
    });
    parsed.unwrap_or_else(|| panic!("{word:?} in the first line {line:?}"))
}
