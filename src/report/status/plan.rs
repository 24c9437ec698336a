//! What is to be done about the status of one Ingress, decided without I/O.
//!
//! Takes how the Ingress stands, the address of our Ingresses and the time; gives a [`Step`]. What was written, and
//! what came of it, is told to it afterwards.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::super::{
    Standing,
    address::same,
    pace::{backoff, between},
    trouble::{Kind, Trouble},
};
use crate::objects::Address;

/// The least time between our write and the next one of the same words: until then our own may just not have come
/// back to us, and it is as often as we repair what somebody else overwrites. Doubled with each repair.
const REPAIR: Duration = Duration::from_secs(60);
/// The most that it is doubled to.
const REPAIR_MOST: Duration = Duration::from_secs(600);
/// What stood unharmed for so long makes repairs before it forgotten.
const FORGOTTEN: Duration = Duration::from_secs(1_200);
/// The repair at which somebody is told: the first may be due to news that came late.
const SUSPICIOUS: u32 = 2;
/// Back-off of a write that failed and may work later, at first and at most.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MOST: Duration = Duration::from_secs(60);
/// A write that fails until somebody does something is tried again so often.
const REFUSED: Duration = Duration::from_secs(600);

/// What to do about one Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::report) enum Step {
    /// It is as it should be.
    Nothing,
    /// To be looked at again then.
    Wait(Instant),
    /// Its status is to be this.
    Write(Vec<Address>),
    /// What we wrote is to be taken out.
    Clear,
}

/// What we know of one Ingress, as long as we lead.
#[derive(Debug, Default)]
pub(in crate::report) struct Known {
    /// Which Ingress of that name.
    uid: Option<Arc<str>>,
    /// It was ours, and nothing that we wrote has been taken out since.
    ours: bool,
    /// It was looked at when the address was known.
    seen: bool,
    /// What we wrote last, and when.
    wrote: Option<(Vec<Address>, Instant)>,
    /// How often in a row we wrote the same over something else.
    repairs: u32,
    /// How often in a row a write failed.
    failures: u32,
    /// No write before.
    not_before: Option<Instant>,
}

impl Known {
    /// What is to be done now. `wanted` is `None` when there is no address: then what stands is left.
    pub(in crate::report) fn plan(&mut self, standing: &Standing, wanted: Option<&[Address]>, now: Instant) -> Step {
        if self.uid != standing.uid {
            // Deleted and made anew: nothing of what we did to the other is done to this one.
            *self = Self { uid: standing.uid.clone(), ..Self::default() };
        }
        let step = if standing.ours {
            self.ours = true;
            self.publish(standing, wanted, now)
        } else {
            self.withdraw(standing, wanted)
        };
        self.seen |= wanted.is_some();
        match self.not_before.filter(|until| *until > now) {
            Some(until) if matches!(step, Step::Write(_) | Step::Clear) => Step::Wait(until),
            _ => step,
        }
    }

    fn publish(&mut self, standing: &Standing, wanted: Option<&[Address]>, now: Instant) -> Step {
        let Some(wanted) = wanted else { return Step::Nothing };
        if same(&standing.status, wanted) {
            (self.failures, self.not_before) = (0, None);
            return Step::Nothing;
        }
        if let Some((addresses, at)) = &self.wrote
            && same(addresses, wanted)
        {
            if now >= *at + FORGOTTEN {
                self.repairs = 0;
            }
            let due = *at + backoff(REPAIR, REPAIR_MOST, self.repairs.saturating_add(1));
            if now < due {
                return Step::Wait(due);
            }
        }
        Step::Write(wanted.to_vec())
    }

    /// One that is not ours: what we wrote is taken out, once. Of one that we never saw as ours, our address tells that
    /// it was when another replica wrote, or an earlier life of this one; but only at the first look, since later it
    /// may as well be the word of another controller with the same address.
    fn withdraw(&mut self, standing: &Standing, wanted: Option<&[Address]>) -> Step {
        let left_behind = !self.seen && wanted.is_some_and(|wanted| same(&standing.status, wanted));
        self.ours |= left_behind;
        let nothing_there = standing.status.is_empty() && self.wrote.is_none();
        if self.ours && !nothing_there {
            return Step::Clear;
        }
        self.ours = false;
        Step::Nothing
    }

    /// The status is `addresses` now. Says whether somebody seems to keep overwriting it: once, until it stood
    /// unharmed for a while.
    pub(in crate::report) fn wrote(&mut self, addresses: Vec<Address>, now: Instant) -> bool {
        let repaired = self.wrote.as_ref().is_some_and(|(before, _)| same(before, &addresses));
        self.repairs = if repaired { self.repairs.saturating_add(1) } else { 0 };
        self.wrote = Some((addresses, now));
        (self.failures, self.not_before) = (0, None);
        self.repairs == SUSPICIOUS
    }

    /// What we wrote is taken out.
    pub(in crate::report) fn cleared(&mut self) {
        *self = Self { seen: true, uid: self.uid.take(), ..Self::default() };
    }

    /// A write failed.
    pub(in crate::report) fn failed(&mut self, trouble: &Trouble, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        let wait = match trouble.kind {
            Kind::Conflict | Kind::Away => {
                let wait = backoff(AGAIN, AGAIN_MOST, self.failures);
                between(wait, wait * 2).max(trouble.wait.unwrap_or_default())
            }
            // It is its namespace that waits.
            Kind::Forbidden => Duration::ZERO,
            // It is told anew if it is there again.
            Kind::Gone | Kind::Ending | Kind::Refused => REFUSED,
        };
        self.not_before = Some(now + wait);
    }
}

#[cfg(test)]
mod tests;
