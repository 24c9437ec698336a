use super::*;

const TIMING: Timing =
    Timing { duration: Duration::from_secs(15), deadline: Duration::from_secs(10), retry: Duration::from_secs(2) };

fn seen(holder: Option<&str>, seconds: Option<i32>, since: Instant) -> Seen {
    let spec = LeaseSpec {
        holder_identity: holder.map(str::to_owned),
        lease_duration_seconds: seconds,
        ..LeaseSpec::default()
    };
    Seen { spec, since }
}

#[test]
fn a_lease_is_taken_when_it_is_nobodys_or_has_run_out() {
    let start = Instant::now();
    let after = |seconds: u64| start + Duration::from_secs(seconds);
    assert_eq!(decide(None, "me", start, &TIMING), Action::Create);
    let cases = [
        (Some("other"), Some(15), 0, Action::Wait),
        (Some("other"), Some(15), 14, Action::Wait),
        (Some("other"), Some(15), 15, Action::Take),
        // What the holder promised counts, not what we would.
        (Some("other"), Some(60), 30, Action::Wait),
        (Some("other"), Some(1), 1, Action::Take),
        // A number that makes no sense is no promise.
        (Some("other"), None, 14, Action::Wait),
        (Some("other"), Some(0), 14, Action::Wait),
        (Some("other"), Some(-5), 15, Action::Take),
        (Some("me"), Some(15), 0, Action::Take),
        (Some(""), Some(1), 0, Action::Take),
        (None, None, 0, Action::Take),
    ];
    for (holder, seconds, waited, expected) in cases {
        let seen = seen(holder, seconds, start);
        let action = decide(Some(&seen), "me", after(waited), &TIMING);
        assert_eq!(action, expected, "{holder:?} {seconds:?} {waited}");
    }
}

#[test]
fn the_time_between_two_looks_counts_as_waited() {
    let start = Instant::now();
    let after = |millis: u64| start + Duration::from_millis(millis);
    assert_eq!(since(None, after(2_000), &TIMING), after(2_000), "the first look");
    assert_eq!(since(Some(start), after(2_000), &TIMING), start);
    // A look that is long past, because the API server was away, says nothing: the holder has only just renewed.
    assert_eq!(since(Some(start), after(60_000), &TIMING), after(57_500));
}

#[test]
fn records_are_those_of_client_go() {
    let (first, later) = (Timestamp::from_second(1_000).unwrap(), Timestamp::from_second(2_000).unwrap());
    let made = held(None, "me", first, &TIMING);
    assert_eq!(made.holder_identity.as_deref(), Some("me"));
    assert_eq!((made.lease_duration_seconds, made.lease_transitions), (Some(15), Some(0)));
    let renewed = held(Some(made.clone()), "me", later, &TIMING);
    assert_eq!((renewed.acquire_time.clone(), renewed.lease_transitions), (Some(MicroTime(first)), Some(0)));
    assert_eq!(renewed.renew_time, Some(MicroTime(later)));
    let taken = held(Some(renewed.clone()), "other", later, &TIMING);
    assert_eq!((taken.acquire_time, taken.lease_transitions), (Some(MicroTime(later)), Some(1)));
    let back = released(renewed, later);
    assert_eq!((back.holder_identity.as_deref(), back.lease_duration_seconds), (Some(""), Some(1)));
    assert_eq!(back.lease_transitions, Some(0));
}

#[test]
fn the_holder_stops_before_others_start() {
    let timing = Timing::default();
    assert!(timing.retry < timing.deadline && timing.deadline < timing.duration);
    let (first, now) = (Instant::now(), Instant::now() + timing.duration);
    assert!(since(Some(first), now, &timing) + timing.duration > now + timing.deadline);
}
