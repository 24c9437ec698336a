use super::*;

fn ip(ip: &str) -> Address {
    Address { ip: Some(ip.into()), hostname: None }
}

fn ours(status: &[Address]) -> Standing {
    Standing { uid: None, ours: true, status: status.to_vec() }
}

fn foreign(status: &[Address]) -> Standing {
    Standing { uid: None, ours: false, status: status.to_vec() }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn it_is_written_once_and_only_on_difference() {
    let (now, a, b) = (Instant::now(), ip("192.0.2.1"), ip("192.0.2.2"));
    let wanted = [a.clone(), b.clone()];
    let mut known = Known::default();
    assert_eq!(known.plan(&ours(&[]), None, now), Step::Nothing, "no address yet: what stands is left");
    assert_eq!(known.plan(&ours(&[b, a]), Some(&wanted), now), Step::Nothing);
    assert_eq!(known.plan(&ours(&[]), Some(&wanted), now), Step::Write(wanted.to_vec()));
    assert!(!known.wrote(wanted.to_vec(), now));
    // Told again before our own write has come back.
    assert_eq!(known.plan(&ours(&[]), Some(&wanted), now), Step::Wait(now + REPAIR));
    assert_eq!(known.plan(&ours(&wanted), Some(&wanted), now), Step::Nothing);
    // Another address is written at once.
    let other = [ip("192.0.2.3")];
    assert_eq!(known.plan(&ours(&wanted), Some(&other), now), Step::Write(other.to_vec()));
}

#[test]
fn one_that_is_made_anew_is_written_at_once() {
    let (now, mine) = (Instant::now(), [ip("192.0.2.1")]);
    let mut known = Known::default();
    known.wrote(mine.to_vec(), now);
    let anew = Standing { uid: Some("2".into()), ..ours(&[]) };
    assert_eq!(known.plan(&anew, Some(&mine), now), Step::Write(mine.to_vec()));
}

#[test]
fn what_somebody_keeps_overwriting_is_repaired_ever_more_seldom() {
    let (mut now, mine, theirs) = (Instant::now(), [ip("192.0.2.1")], [ip("198.51.100.1")]);
    let mut known = Known::default();
    let (mut warnings, mut waits) = (Vec::new(), Vec::new());
    known.wrote(mine.to_vec(), now);
    for _ in 0..7 {
        assert_eq!(known.plan(&ours(&mine), Some(&mine), now), Step::Nothing);
        let Step::Wait(until) = known.plan(&ours(&theirs), Some(&mine), now + seconds(1)) else { panic!() };
        waits.push((until - now).as_secs());
        now = until;
        assert_eq!(known.plan(&ours(&theirs), Some(&mine), now), Step::Write(mine.to_vec()));
        warnings.push(known.wrote(mine.to_vec(), now));
    }
    assert_eq!(waits, [60, 120, 240, 480, 600, 600, 600]);
    assert_eq!(warnings.iter().filter(|warned| **warned).count(), 1);
    assert!(warnings[1]);
    // A long peace makes it forgotten.
    now += FORGOTTEN;
    assert_eq!(known.plan(&ours(&theirs), Some(&mine), now), Step::Write(mine.to_vec()));
    known.wrote(mine.to_vec(), now);
    assert_eq!(known.plan(&ours(&theirs), Some(&mine), now), Step::Wait(now + seconds(120)));
}

#[test]
fn what_is_no_longer_ours_is_cleared_once() {
    let (now, mine) = (Instant::now(), [ip("192.0.2.1")]);
    let mut known = Known::default();
    known.plan(&ours(&mine), Some(&mine), now);
    assert_eq!(known.plan(&foreign(&mine), Some(&mine), now), Step::Clear);
    known.cleared();
    assert_eq!(known.plan(&foreign(&mine), Some(&mine), now), Step::Nothing, "the news of it are still to come");
    assert_eq!(known.plan(&foreign(&[]), Some(&mine), now), Step::Nothing);
    // Ours again: written at once.
    assert_eq!(known.plan(&ours(&[]), Some(&mine), now), Step::Write(mine.to_vec()));
    known.wrote(mine.to_vec(), now);
    // Our own write has not come back yet.
    assert_eq!(known.plan(&foreign(&[]), Some(&mine), now), Step::Clear);
    known.cleared();
    let mut never_written = Known::default();
    never_written.plan(&ours(&[]), None, now);
    assert_eq!(never_written.plan(&foreign(&[]), Some(&mine), now), Step::Nothing);
}

#[test]
fn what_was_left_behind_is_cleared_at_the_first_look_only() {
    let (now, mine, theirs) = (Instant::now(), [ip("192.0.2.1")], [ip("198.51.100.1")]);
    let mut left = Known::default();
    assert_eq!(left.plan(&foreign(&mine), None, now), Step::Nothing);
    assert_eq!(left.plan(&foreign(&mine), Some(&mine), now), Step::Clear);
    // A clear that failed is tried again.
    left.failed(&Trouble { kind: Kind::Away, text: String::new(), wait: None }, now);
    assert!(matches!(left.plan(&foreign(&mine), Some(&mine), now), Step::Wait(_)));
    assert_eq!(left.plan(&foreign(&mine), Some(&mine), now + seconds(10)), Step::Clear);

    let mut other = Known::default();
    assert_eq!(other.plan(&foreign(&theirs), Some(&mine), now), Step::Nothing);
    assert_eq!(other.plan(&foreign(&mine), Some(&mine), now), Step::Nothing, "another controller's word");
}

#[test]
fn failures_are_tried_again_after_a_time_that_fits_them() {
    let (now, mine) = (Instant::now(), [ip("192.0.2.1")]);
    let waits = |kind, wait: Option<u64>, failures: u32| {
        let mut known = Known::default();
        for _ in 0..failures {
            known.failed(&Trouble { kind, text: String::new(), wait: wait.map(seconds) }, now);
        }
        let Step::Wait(until) = known.plan(&ours(&[]), Some(&mine), now) else { panic!() };
        let waits = (until - now).as_secs_f64();
        // Equal after all: nothing is waited for.
        assert_eq!(known.plan(&ours(&mine), Some(&mine), now), Step::Nothing);
        assert_eq!(known.plan(&ours(&[]), Some(&mine), now), Step::Write(mine.to_vec()));
        waits
    };
    assert!((1.0..=2.0).contains(&waits(Kind::Away, None, 1)));
    assert!((8.0..=16.0).contains(&waits(Kind::Conflict, None, 4)));
    assert!((60.0..=120.0).contains(&waits(Kind::Away, None, 50)));
    assert!((30.0..=30.1).contains(&waits(Kind::Away, Some(30), 1)));
    assert!((600.0..=601.0).contains(&waits(Kind::Gone, None, 1)));
}
