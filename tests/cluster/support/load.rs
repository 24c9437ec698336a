//! A load that goes on while something happens, and remembers every answer that was not as it should be.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    client::{Answer, Client},
    http::Target,
    until::until,
    wait::pause,
};

/// What to send, and how.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// One client after another starts with the next of these.
    pub(crate) targets: Vec<Target>,
    pub(crate) clients: usize,
    /// Requests per second of all clients together.
    pub(crate) rate: u32,
    /// Requests on one connection. Every fourth client makes a new one for each request, whatever is said here.
    pub(crate) per_connection: usize,
    /// The cookie whose value each client keeps and sends back.
    pub(crate) cookie: Option<&'static str>,
}

/// A request that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    client: usize,
    /// When it was sent, after the start of the load.
    sent: Duration,
    took: Duration,
    /// Whether the connection had served requests before.
    reused: bool,
    pub(crate) why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, sent, took, reused, why } = self;
        let connection = if *reused { "a used" } else { "a new" };
        write!(out, "client {client}, after {sent:.1?}, on {connection} connection, for {took:.1?}: {why}")
    }
}

/// A client's session that moved from one pod to another.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    client: usize,
    /// When the other pod's first answer had come.
    pub(crate) answered: Instant,
    pub(crate) from: String,
    to: String,
}

impl fmt::Display for Move {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "client {} from {} to {}", self.client, self.from, self.to)
    }
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) answered: usize,
    pub(crate) failures: Vec<Failure>,
    pub(crate) moves: Vec<Move>,
    /// Answers of each pod.
    pub(crate) pods: BTreeMap<String, usize>,
    pub(crate) slowest: Duration,
}

impl Outcome {
    /// Panics if any request failed.
    #[track_caller]
    pub(crate) fn assert_no_failure(&self) {
        assert!(self.failures.is_empty(), "{self}");
    }
}

/// One line, and why the first failures are ones.
impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, failures, moves, pods, slowest } = self;
        let (failed, moved, pods) = (failures.len(), moves.len(), pods.len());
        write!(out, "{answered} answered by {pods} pods, {failed} failed, {moved} moved, the slowest {slowest:.1?}")?;
        failures.iter().take(10).try_for_each(|failure| write!(out, "\n  {failure}"))
    }
}

/// A load that is under way.
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
    outcome: Arc<Mutex<Outcome>>,
}

impl Load {
    /// Plain requests, by 8 clients, some 20 on each connection.
    pub(crate) fn new(targets: Vec<Target>) -> Self {
        Self { targets, clients: 8, rate: 800, per_connection: 20, cookie: None }
    }

    /// Starts it.
    pub(crate) fn start(self) -> Running {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let outcome = Arc::<Mutex<Outcome>>::default();
        let started = Instant::now();
        let clients = (0..self.clients).map(|number| {
            let mut one = One {
                number,
                target: self.targets[number % self.targets.len()].clone(),
                per_connection: if number % 4 == 3 { 1 } else { self.per_connection },
                cookie: self.cookie,
                jar: None,
                pod: None,
                connection: None,
                started,
                stop: Arc::clone(&stop),
                done: Arc::clone(&done),
                outcome: Arc::clone(&outcome),
            };
            let pace = Duration::from_secs(1) * u32::try_from(self.clients).unwrap() / self.rate;
            std::thread::spawn(move || one.run(pace))
        });
        let clients = clients.collect();
        Running { stop, done, clients, outcome }
    }
}

impl Running {
    /// Requests so far, answered or failed.
    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    /// Goes on until at least so many requests are done, then stops.
    #[track_caller]
    pub(crate) fn finish(self, requests: usize, limit: Duration) -> Outcome {
        until(&format!("{requests} requests are done"), limit, || (self.done() >= requests).then_some(()));
        self.stop()
    }

    /// Stops, once the requests that are under way are answered.
    pub(crate) fn stop(mut self) -> Outcome {
        self.stop.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().expect("a client of the load");
        }
        std::mem::take(&mut self.outcome.lock().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// One client.
struct One {
    number: usize,
    target: Target,
    per_connection: usize,
    cookie: Option<&'static str>,
    /// The cookie as it is sent: `name=value`.
    jar: Option<String>,
    /// Who answered last.
    pod: Option<String>,
    /// And the requests it has served.
    connection: Option<(Client, usize)>,
    /// Of the whole load.
    started: Instant,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    outcome: Arc<Mutex<Outcome>>,
}

impl One {
    fn run(&mut self, pace: Duration) {
        let mut due = Instant::now();
        while !self.stop.load(Ordering::SeqCst) {
            let sent = Instant::now();
            let reused = self.connection.is_some();
            let answer = self.exchange().map_err(|error| error.to_string()).and_then(whole);
            let took = sent.elapsed();
            let mut outcome = self.outcome.lock().unwrap();
            outcome.slowest = outcome.slowest.max(took);
            match answer {
                Ok(answer) => {
                    outcome.answered += 1;
                    let pod = answer.get("x-pod").unwrap_or_default().to_owned();
                    *outcome.pods.entry(pod.clone()).or_default() += 1;
                    if let Some(from) = self.pod.replace(pod.clone()).filter(|from| *from != pod) {
                        outcome.moves.push(Move { client: self.number, answered: Instant::now(), from, to: pod });
                    }
                    if let Some((name, value)) = self.cookie.and_then(|name| Some((name, answer.cookie(name)?))) {
                        self.jar = Some(format!("{name}={value}"));
                    }
                }
                Err(why) => {
                    self.connection = None;
                    outcome.failures.push(Failure {
                        client: self.number,
                        sent: sent - self.started,
                        took,
                        reused,
                        why,
                    });
                }
            }
            drop(outcome);
            self.done.fetch_add(1, Ordering::SeqCst);
            due += pace;
            // A load that is late doesn't catch up in one burst.
            due = due.max(Instant::now().checked_sub(Duration::from_millis(100)).unwrap_or(due));
            pause(due.saturating_duration_since(Instant::now()));
        }
    }

    fn exchange(&mut self) -> io::Result<Answer> {
        let (mut client, served) = match self.connection.take() {
            Some(open) => open,
            None => (self.target.connect()?, 0),
        };
        client.send(self.target.bytes(self.jar.as_deref()));
        let closed = || io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer");
        let answer = client.try_answer(true)?.ok_or_else(closed)?;
        let close = answer.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if !close && served + 1 < self.per_connection {
            self.connection = Some((client, served + 1));
        }
        Ok(answer)
    }
}

fn whole(answer: Answer) -> Result<Answer, String> {
    match (answer.status, answer.get("x-pod")) {
        (200, Some(_)) => Ok(answer),
        (status, _) => Err(format!("{status}: {}", answer.text())),
    }
}
