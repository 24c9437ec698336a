use super::*;
use crate::diagnostic::{Diagnostic, Severity, Subject};

fn told(severity: Severity, name: &str) -> Told {
    let subject = Subject { kind: "Ingress", namespace: "shop".into(), name: name.into() };
    let mut diagnostic = Diagnostic::error(subject, "spec", "ServiceNotFound", "there is no such Service");
    diagnostic.severity = severity;
    Told { diagnostic, uid: Some("1".into()), api_version: "networking.k8s.io/v1" }
}

fn series(count: i32) -> Series {
    Series { name: "a.1".to_owned(), count }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Says all that is due.
fn say(ledger: &mut Ledger, now: Instant) -> Vec<String> {
    assert_eq!(ledger.admit(now), 0);
    let mut said = Vec::new();
    while let Some((told, before)) = ledger.next(now) {
        said.push(told.diagnostic.subject.name.to_string());
        ledger.said(&told, series(before.map_or(1, |before| before.count + 1)), now);
    }
    said
}

#[test]
fn it_must_stand_for_a_while_and_is_repeated_while_it_stands() {
    let (start, a) = (Instant::now(), [told(Severity::Error, "a")]);
    let mut ledger = Ledger::default();
    ledger.told(&a, start);
    assert_eq!(ledger.wake(), Some(start + STOOD));
    assert!(say(&mut ledger, start + seconds(1)).is_empty());
    // Told again with others: it goes on to stand.
    ledger.told(&a, start + seconds(1));
    assert_eq!(say(&mut ledger, start + STOOD), ["a"]);
    let said = start + STOOD;
    assert_eq!(ledger.wake(), Some(said + REPEAT));
    assert!(say(&mut ledger, said + REPEAT - seconds(1)).is_empty());
    ledger.admit(said + REPEAT);
    assert_eq!(ledger.next(said + REPEAT), Some((a[0].clone(), Some(series(1)))), "the repeat adds to the Event");
}

#[test]
fn what_was_put_right_is_not_said() {
    let (start, a) = (Instant::now(), [told(Severity::Error, "a")]);
    let mut ledger = Ledger::default();
    ledger.told(&a, start);
    ledger.told([], start + seconds(1));
    assert_eq!(ledger.wake(), None);
    assert!(say(&mut ledger, start + seconds(10)).is_empty());
    // Put right while it waits for its turn.
    ledger.told(&a, start);
    ledger.admit(start + STOOD);
    ledger.told([], start + STOOD);
    assert_eq!(ledger.next(start + STOOD), None);
    assert!(ledger.entries.is_empty());
    // And wrong again.
    ledger.told(&a, start + seconds(20));
    assert_eq!(say(&mut ledger, start + seconds(22)), ["a"]);
}

#[test]
fn what_comes_and_goes_is_not_said_each_time() {
    let (start, a) = (Instant::now(), [told(Severity::Error, "a")]);
    let mut ledger = Ledger::default();
    let mut said = 0;
    for minute in 0..59 {
        let now = start + seconds(60 * minute);
        ledger.told(&a, now);
        said += say(&mut ledger, now + seconds(3)).len();
        ledger.told([], now + seconds(4));
    }
    assert_eq!(said, 2, "in an hour");
    ledger.told([], start + REPEAT * 3);
    assert!(ledger.entries.is_empty(), "and forgotten at last");
}

#[test]
fn errors_come_first_and_what_finds_no_room_is_dropped() {
    let start = Instant::now();
    let mut all: Vec<Told> = (0..WAITING + 5).map(|n| told(Severity::Info, &format!("{n:05}"))).collect();
    all.push(told(Severity::Error, "worst"));
    let mut ledger = Ledger::default();
    ledger.told(&all, start);
    assert_eq!(ledger.admit(start + STOOD), 6);
    assert_eq!(ledger.admit(start + STOOD), 0, "counted once");
    let first = ledger.next(start + STOOD).unwrap().0;
    assert_eq!(&*first.diagnostic.subject.name, "worst");
    assert_eq!(say(&mut ledger, start + seconds(200)).len(), WAITING);
    assert_eq!(say(&mut ledger, start + STOOD + REPEAT).len(), 6, "what was dropped has its turn in the end");
}

#[test]
fn what_is_refused_is_tried_again_later() {
    let (start, a) = (Instant::now(), [told(Severity::Error, "a")]);
    let mut ledger = Ledger::default();
    ledger.told(&a, start);
    ledger.admit(start + STOOD);
    ledger.refused(&a[0], start + STOOD);
    assert!(say(&mut ledger, start + seconds(60)).is_empty());
    assert_eq!(say(&mut ledger, start + STOOD + REFUSED), ["a"]);
}
