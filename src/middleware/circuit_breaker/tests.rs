use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::middleware::{
    Middleware,
    upstream::tests::{Fake, request},
};

fn settings(expression: &str) -> Settings {
    Settings {
        expression: expression.to_owned(),
        check_period: Duration::from_millis(100),
        fallback_duration: Duration::from_secs(10),
        recovery_duration: Duration::from_secs(10),
        status: StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn breaker(expression: &str) -> CircuitBreaker {
    CircuitBreaker::new(settings(expression)).unwrap()
}

/// Whether the expression holds after these requests: (milliseconds of the clock, status, milliseconds it took).
fn holds_at(expression: &str, requests: &[(u64, u16, u64)], now_ms: u64) -> bool {
    let breaker = breaker(expression);
    for (at, status, took) in requests {
        breaker.window.note(StatusCode::from_u16(*status).unwrap(), Duration::from_millis(*took), *at);
    }
    breaker.condition.holds(&mut |condition| condition.holds(&breaker.window, now_ms))
}

fn holds(expression: &str, requests: &[(u16, u64)]) -> bool {
    let requests: Vec<(u64, u16, u64)> = requests.iter().map(|(status, took)| (1, *status, *took)).collect();
    holds_at(expression, &requests, 1)
}

#[test]
fn shares_of_network_errors_and_codes() {
    let half = [(502, 0), (504, 0), (503, 0), (200, 0)];
    for (expression, expected) in [
        ("NetworkErrorRatio() > 0.5", false),
        ("NetworkErrorRatio() >= 0.5", true),
        ("NetworkErrorRatio() == 0.5", true),
        ("NetworkErrorRatio() != 0.5", false),
        ("NetworkErrorRatio() < 0.51", true),
        ("ResponseCodeRatio(500, 600, 0, 600) > 0.74", true),
        ("ResponseCodeRatio(500, 600, 0, 600) > 0.75", false),
        ("ResponseCodeRatio(503, 504, 0, 600) == 0.25", true),
        ("ResponseCodeRatio(500, 502, 0, 600) == 0.0", true),
        ("ResponseCodeRatio(500, 600, 200, 300) == 3.0", true),
        ("ResponseCodeRatio(600, 500, 0, 600) == 0.0", true),
        ("ResponseCodeRatio(0, 600, 400, 500) == 0.0", true),
        ("NetworkErrorRatio() > 0.9 || ResponseCodeRatio(500, 600, 0, 600) > 0.5 && NetworkErrorRatio() > 0.4", true),
        (
            "(NetworkErrorRatio() > 0.9 || ResponseCodeRatio(500, 600, 0, 600) > 0.5) && NetworkErrorRatio() > 0.6",
            false,
        ),
    ] {
        assert_eq!(holds(expression, &half), expected, "{expression}");
    }
    assert!(!holds("NetworkErrorRatio() > 0.0", &[]));
    assert!(holds("NetworkErrorRatio() == 0.0 && ResponseCodeRatio(0, 600, 0, 600) == 0.0", &[]));
}

#[test]
fn a_window_forgets() {
    let early = [(500, 502, 0), (9_999, 200, 0)];
    assert!(holds_at("NetworkErrorRatio() == 0.5", &early, 9_999));
    assert!(holds_at("NetworkErrorRatio() == 0.0", &early, 10_000), "the first second is over ten seconds ago");
    assert!(holds_at("ResponseCodeRatio(200, 201, 0, 600) == 1.0", &early, 18_999));
    assert!(holds_at("ResponseCodeRatio(0, 600, 0, 600) == 0.0", &early, 19_000));
    // Latency is looked at over a minute.
    assert!(holds_at("LatencyAtQuantileMS(100.0) == 7", &[(9_999, 200, 7)], 59_999));
    assert!(holds_at("LatencyAtQuantileMS(100.0) == 0", &[(9_999, 200, 7)], 60_000));
    // A place of the ring is used again.
    assert!(holds_at("NetworkErrorRatio() == 1.0", &[(1_500, 200, 0), (11_500, 502, 0)], 11_500));
}

/// The latency at a quantile, from all of them in order (oxy's rule for which one that is).
fn quantile(took: &mut [u64], quantile: f64) -> u64 {
    took.sort_unstable();
    let rank = (quantile.min(100.0) / 100.0 * took.len() as f64 + 0.5).floor() as usize;
    rank.checked_sub(1).map_or(0, |index| took[index])
}

proptest! {
    #[test]
    fn comparing_a_quantile_is_comparing_the_sorted_latencies(
        mut took in prop::collection::vec(0..200_u64, 0..60),
        at in prop_oneof![Just(0.0), Just(50.0), Just(100.0), 0.0..110.0_f64],
        than in 0..200_i64,
    ) {
        let requests: Vec<(u16, u64)> = took.iter().map(|took| (200, *took)).collect();
        let value = i64::try_from(quantile(&mut took, at)).unwrap();
        for (comparison, expected) in [
            (">", value > than), (">=", value >= than), ("<", value < than),
            ("<=", value <= than), ("==", value == than), ("!=", value != than),
        ] {
            let expression = format!("LatencyAtQuantileMS({at:?}) {comparison} {than}");
            prop_assert_eq!(holds(&expression, &requests), expected, "{} of {:?}", expression, took);
        }
    }

    #[test]
    fn counts_of_all_threads_add_up(counts in prop::collection::vec(0..200_u64, 1..4)) {
        let breaker = breaker("NetworkErrorRatio() > 0.5");
        std::thread::scope(|scope| {
            for count in &counts {
                let window = &breaker.window;
                scope.spawn(move || (0..*count).for_each(|_| window.note(StatusCode::OK, Duration::ZERO, 5)));
            }
        });
        let all = (0..2).map(|index| breaker.window.get(index, 5)).max();
        prop_assert_eq!(all, Some(counts.iter().sum()));
    }
}

#[test]
fn sub_milliseconds_are_cut_off() {
    let breaker = breaker("LatencyAtQuantileMS(50.0) > 100");
    let holds = || breaker.condition.holds(&mut |condition| condition.holds(&breaker.window, 1));
    breaker.window.note(StatusCode::OK, Duration::from_micros(100_999), 1);
    assert!(!holds());
    breaker.window.note(StatusCode::OK, Duration::from_micros(101_000), 1);
    breaker.window.note(StatusCode::OK, Duration::from_micros(101_000), 1);
    assert!(holds());
}

#[test]
fn expressions_that_traefik_refuses_are_refused() {
    for (expression, said) in [
        ("", "it has no expression"),
        ("NetworkErrorRatio() >", "`NetworkErrorRatio() >`: expected a number or text in quotes at its end"),
        ("NetworkErrorRatio() > 1", "NetworkErrorRatio() is compared with 1: write 1.0"),
        ("NetworkErrorRatio()", "NetworkErrorRatio() is compared with nothing"),
        ("NetworkErrorRatio(1) > 0.5", "NetworkErrorRatio() has no arguments"),
        ("NetworkErrorRatio() > -1.0", "no share is negative"),
        ("NetworkErrorRatio() > \"a\"", "write a number with a point"),
        ("networkErrorRatio() > 0.5", "there is no function networkErrorRatio"),
        ("RequestThreshold() > 5", "there is no function RequestThreshold"),
        ("0.5 < NetworkErrorRatio()", "expected the name of a function at character 1"),
        ("NetworkErrorRatio() > 0.5 and 1", "expected &&, || or the end at character 27"),
        ("!(NetworkErrorRatio() > 0.5)", "expected the name of a function at character 1"),
        ("NetworkErrorRatio() > 0.5 > 0.4", "at character 27"),
        ("NetworkErrorRatio() > 0.5 && 1", "at character 30"),
        ("LatencyAtQuantileMS(50) > 50", "LatencyAtQuantileMS(50): write 50.0"),
        ("LatencyAtQuantileMS(50.0) > 50.0", "write whole milliseconds"),
        ("LatencyAtQuantileMS(50.0) > -5", "no latency is negative"),
        ("LatencyAtQuantileMS(-1.0) > 5", "one argument, the quantile"),
        ("LatencyAtQuantileMS() > 5", "one argument, the quantile"),
        ("LatencyAtQuantileMS(50.0)", "compared with nothing"),
        ("ResponseCodeRatio(500, 600) > 0.5", "four arguments"),
        ("ResponseCodeRatio(500.0, 600, 0, 600) > 0.5", "four arguments"),
        ("ResponseCodeRatio(500, 600, 0, 600) > 1", "write 1.0"),
    ] {
        let error = CircuitBreaker::new(settings(expression)).unwrap_err();
        assert_eq!(error.field, "expression");
        assert!(error.message.contains(said), "{expression}: {}", error.message);
    }
}

#[test]
fn it_opens_and_forgets_what_was_before() {
    let breaker = breaker("NetworkErrorRatio() > 0.5");
    let end = |at: u64, status: StatusCode| {
        let turn = breaker.admit(at).expect("it lets it pass");
        breaker.note(turn, status, Duration::ZERO, at);
    };
    end(1_000, StatusCode::OK);
    let slow = breaker.admit(1_050).unwrap();
    end(1_101, StatusCode::BAD_GATEWAY);
    end(1_202, StatusCode::BAD_GATEWAY);
    assert_eq!(breaker.admit(1_203), None);
    assert_eq!(breaker.admit(11_201), None);
    // One from before ends badly in the recovery: it doesn't count.
    let late = (11_202..21_000).find_map(|now| breaker.admit(now).map(|turn| (turn, now)));
    let (turn, now) = late.expect("some pass");
    breaker.note(slow, StatusCode::BAD_GATEWAY, Duration::ZERO, now);
    assert_eq!(breaker.window.get(0, now) + breaker.window.get(1, now), 0);
    breaker.note(turn, StatusCode::OK, Duration::ZERO, now);
    assert!(breaker.admit(21_300).is_some(), "closed again");
    // And one of the recovery that ends badly opens it at once.
    let reopening = breaker.fresh();
    let turn = reopening.admit(1_000).unwrap();
    reopening.note(turn, StatusCode::BAD_GATEWAY, Duration::ZERO, 1_000);
    let (turn, now) = (11_000..21_000).find_map(|now| reopening.admit(now).map(|turn| (turn, now))).unwrap();
    reopening.note(turn, StatusCode::GATEWAY_TIMEOUT, Duration::ZERO, now);
    assert_eq!(reopening.admit(now + 9_999), None);
}

#[tokio::test]
async fn while_it_is_open_it_answers_itself() {
    let teapot = Settings { status: StatusCode::IM_A_TEAPOT, ..settings("NetworkErrorRatio() > 0.5") };
    let middleware = Middleware::CircuitBreaker(Arc::new(CircuitBreaker::new(teapot).unwrap()));
    let mut fake = Fake::of(&[502, 200]);
    let mut request = request("GET", "http://a.test/", b"");
    assert_eq!(fake.run(&middleware, &mut request).await.status(), 502);
    let refused = fake.run(&middleware, &mut request).await;
    assert_eq!(refused.status(), 418);
    assert!(matches!(refused.body(), Body::Full(text) if text == "I'm a teapot"));
    assert_eq!(fake.seen.len(), 1);

    let fresh = middleware.fresh().unwrap();
    assert!(fresh.is_like(&middleware));
    assert_eq!(fake.run(&fresh, &mut request).await.status(), 200, "another route's own");
    let other = CircuitBreaker::new(settings("NetworkErrorRatio() > 0.5")).unwrap();
    assert!(!fresh.is_like(&Middleware::CircuitBreaker(Arc::new(other))));
}

#[tokio::test]
async fn an_answer_without_a_body_stays_without() {
    let empty = Settings { status: StatusCode::NO_CONTENT, ..settings("NetworkErrorRatio() > 0.5") };
    let refusal = CircuitBreaker::new(empty).unwrap().refusal();
    assert!(matches!(refusal.body(), Body::Empty) && refusal.headers().is_empty());
}
