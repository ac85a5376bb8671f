//! The choice inside a share group: who may get a message, starting where, online members first.

use super::SubscriberId;
use super::subscriber::Member;

/// Random tries for an online member before the members are counted.
const RANDOM_TRIES: u64 = 8;

/// The members as one choice sees them.
pub(super) struct Candidates<'a> {
    pub(super) list: &'a [Member],
    pub(super) is_online: &'a dyn Fn(SubscriberId) -> bool,
    pub(super) skip: &'a [SubscriberId],
}

impl Candidates<'_> {
    /// A place in the list for a hash or a random number.
    pub(super) fn place(&self, number: u64) -> usize {
        let len = self.list.len().max(1) as u64;
        usize::try_from(number % len).unwrap_or_default()
    }

    fn may_get(&self, at: usize) -> bool {
        self.list.get(at).is_some_and(|(id, _)| !self.skip.contains(id))
    }

    fn is_online(&self, at: usize) -> bool {
        self.list.get(at).is_some_and(|&(id, _)| (self.is_online)(id))
    }

    /// The first online candidate from `start` on, going round; else the first offline one.
    pub(super) fn from(&self, start: usize) -> Option<usize> {
        let start = if start < self.list.len() { start } else { 0 };
        let mut offline = None;
        for at in (start..self.list.len()).chain(0..start) {
            if !self.may_get(at) {
                continue;
            }
            if self.is_online(at) {
                return Some(at);
            }
            offline = offline.or(Some(at));
        }
        offline
    }

    /// The member that was chosen before while it is online or nobody else is; else any.
    pub(super) fn sticky(&self, held: Option<usize>, random: u64) -> Option<usize> {
        let held = held.filter(|&at| self.may_get(at));
        if held.is_some_and(|at| self.is_online(at)) {
            return held;
        }
        let other = self.at_random(random)?;
        if self.is_online(other) { Some(other) } else { held.or(Some(other)) }
    }

    /// Any online candidate, each as likely as the other; else any offline one.
    pub(super) fn at_random(&self, random: u64) -> Option<usize> {
        let tries = (0..RANDOM_TRIES).map(|number| self.place(mix(random.wrapping_add(number))));
        if let Some(at) = tries.into_iter().find(|&at| self.may_get(at) && self.is_online(at)) {
            return Some(at);
        }
        let candidates = || (0..self.list.len()).filter(|&at| self.may_get(at));
        let online = || candidates().filter(|&at| self.is_online(at));
        let nth_of = |count: usize| usize::try_from(random % count.max(1) as u64).unwrap_or_default();
        // A member may go offline between counting and choosing; then any candidate will do.
        let chosen = online().nth(nth_of(online().count()));
        chosen.or_else(|| candidates().nth(nth_of(candidates().count())))
    }
}

/// Spreads consecutive numbers over all 64 bits (the `SplitMix64` finalizer).
pub(super) const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
