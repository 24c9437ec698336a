use proptest::prelude::*;

use super::*;

fn phase(check: u64, fallback: u64, recovery: u64) -> Phase {
    Phase::closed(check, fallback, recovery)
}

/// What vulcand/oxy does, written down as plainly as can be: states with the time at which they end.
#[derive(Debug)]
struct Model {
    times: (u64, u64, u64),
    state: &'static str,
    until: u64,
    started: u64,
    passed: u64,
    refused: u64,
    last_check: u64,
    opened: u64,
}

impl Model {
    fn new(times: (u64, u64, u64)) -> Self {
        Self { times, state: "standby", until: 0, started: 0, passed: 0, refused: 0, last_check: 0, opened: 0 }
    }

    fn admit(&mut self, now: u64) -> Option<u64> {
        if self.state == "tripped" {
            if now < self.until {
                return None;
            }
            (self.state, self.until, self.started) = ("recovering", now + self.times.2, now);
            (self.passed, self.refused) = (0, 0);
        }
        if self.state == "recovering" {
            if now > self.until {
                self.state = "standby";
            } else {
                let target = 0.5 * (now - self.started) as f64 / self.times.2 as f64;
                let share = (self.passed + 1) as f64 / (self.passed + 1 + self.refused) as f64;
                if share >= target {
                    self.refused += 1;
                    return None;
                }
                self.passed += 1;
            }
        }
        Some(self.opened)
    }

    /// How a request ended; true if that opens it.
    fn note(&mut self, turn: u64, holds: bool, now: u64) -> bool {
        if turn != self.opened || now <= self.last_check {
            return false;
        }
        self.last_check = now + self.times.0;
        if self.state == "tripped" || !holds {
            return false;
        }
        (self.state, self.until) = ("tripped", now + self.times.1);
        self.opened += 1;
        true
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Wait(u64),
    Come,
    /// The nth of those that are inside ends, with the condition so.
    End(prop::sample::Index, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..60_u64).prop_map(Step::Wait),
        4 => Just(Step::Come),
        4 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(nth, holds)| Step::End(nth, holds)),
    ]
}

proptest! {
    #[test]
    fn states_follow_the_model(
        times in (1..100_u64, 1..200_u64, 1..400_u64),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let (phase, mut model) = (phase(times.0, times.1, times.2), Model::new(times));
        let (mut now, mut inside) = (1, Vec::new());
        for step in steps {
            match step {
                Step::Wait(ms) => now += ms,
                Step::Come => {
                    let turn = phase.admit(now);
                    prop_assert_eq!(turn.map(|t| t.0), model.admit(now));
                    inside.extend(turn);
                }
                Step::End(nth, holds) if !inside.is_empty() => {
                    let turn = inside.swap_remove(nth.index(inside.len()));
                    let opened = phase.counts(turn) && phase.check(now, || holds);
                    prop_assert_eq!(opened, model.note(turn.0, holds, now));
                }
                Step::End(..) => {}
            }
        }
    }
}

#[test]
fn the_whole_way_round() {
    let phase = phase(100, 1_000, 1_000);
    let turn = phase.admit(10).unwrap();
    assert!(!phase.check(10, || false));
    assert!(!phase.check(110, || true), "the check period is not over");
    assert!(phase.check(111, || true));
    assert!(!phase.counts(turn), "what was inside says nothing of what comes");
    assert!((111..1_111).all(|now| phase.admit(now).is_none()));
    // Next to none at first, next to all at the end, then all.
    let passes = |from: u64| (from..from + 100).filter(|now| phase.admit(*now).is_some()).count();
    let ramp: Vec<usize> = (0..10).map(|tenth| passes(1_111 + tenth * 100)).collect();
    assert!(ramp[0] < 20 && ramp[9] > 60 && ramp.is_sorted(), "{ramp:?}");
    assert_eq!(ramp.iter().sum::<usize>(), 499, "half of them in all: {ramp:?}");
    assert_eq!(passes(2_200), 100);
    assert_eq!(phase.admit(3_000), Some(Turn(1)));
}

#[test]
fn of_many_that_notice_at_once_one_opens_it() {
    let phase = phase(100, 1_000, 1_000);
    let opened: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| usize::from(phase.check(5, || true)))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(opened, 1);
    assert!(phase.admit(6).is_none());
}
