//! Shared subscriptions: the members of one group on one filter, and the choice of one of them for a message.
//!
//! A group is handed out as `Arc` and stays valid in match caches: members come and go inside it, and the cursors of the
//! strategies survive that. A group that lost its last member picks nobody. The lock inside is held for one choice;
//! `is_online` is called under it and must not come back to the same group.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::candidates::Candidates;
use super::members::Members;
use super::subscriber::unpack;
use super::{SubscriberId, SubscriptionOptions};

/// Publishers that a group remembers per half of its memory; with both halves at most twice as many.
const PUBLISHERS_PER_HALF: usize = 1_024;

/// How a group chooses the member that gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Any member.
    Random,
    /// One after the other, counted per publisher; a publisher's first choice is random.
    #[default]
    RoundRobin,
    /// One after the other, counted once for the whole group.
    RoundRobinPerGroup,
    /// The same member for a publisher until it leaves or is offline.
    Sticky,
    /// Any member on this node; with one node the same as `Random`.
    Local,
    /// By the publisher's client id.
    HashClientId,
    /// By the topic.
    HashTopic,
}

impl Strategy {
    /// Every strategy with its name in the configuration.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("random", Self::Random),
        ("round_robin", Self::RoundRobin),
        ("round_robin_per_group", Self::RoundRobinPerGroup),
        ("sticky", Self::Sticky),
        ("local", Self::Local),
        ("hash_clientid", Self::HashClientId),
        ("hash_topic", Self::HashTopic),
    ];
}

/// The name is none of `Strategy::NAMES`. A configuration error; it never becomes a reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownStrategy;

impl fmt::Display for UnknownStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("shared subscription strategy must be one of:")?;
        Strategy::NAMES.iter().try_for_each(|(name, _)| write!(f, " {name}"))
    }
}

impl std::error::Error for UnknownStrategy {}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(name: &str) -> Result<Self, UnknownStrategy> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|&(_, strategy)| strategy).ok_or(UnknownStrategy)
    }
}

/// What a choice may depend on.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickRequest {
    /// Identifies the publisher for `RoundRobin` and `Sticky`.
    pub publisher: u64,
    /// Hash of the publisher's client id.
    pub client_id_hash: u64,
    /// Hash of the topic.
    pub topic_hash: u64,
    /// A random number, fresh for each request.
    pub random: u64,
}

/// The members of one share group on one filter.
#[derive(Debug)]
pub struct SharedGroup {
    name: Box<str>,
    filter: Box<str>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    members: Members,
    /// Where the next choice of `RoundRobinPerGroup` begins.
    cursor: usize,
    publishers: PublisherMemory,
}

impl SharedGroup {
    pub(crate) fn new(name: &str, filter: &str) -> Self {
        Self { name: name.into(), filter: filter.into(), state: Mutex::default() }
    }

    /// The group's name; `$queue` for subscribers of `$queue/f`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bare filter that the members share.
    #[must_use]
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// A copy of the members, in no particular order.
    #[must_use]
    pub fn members(&self) -> Vec<(SubscriberId, SubscriptionOptions)> {
        self.lock().members.as_slice().iter().map(unpack).collect()
    }

    /// Number of members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().members.as_slice().len()
    }

    /// Whether the last member has left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The options of a member; `None` if it is none, or none any more.
    #[must_use]
    pub fn get(&self, id: SubscriberId) -> Option<SubscriptionOptions> {
        self.lock().members.get(id).map(Into::into)
    }

    pub(crate) fn insert(&self, id: SubscriberId, options: SubscriptionOptions) -> Option<SubscriptionOptions> {
        self.lock().members.insert(id, options.into()).map(Into::into)
    }

    pub(crate) fn remove(&self, id: SubscriberId) -> Option<SubscriptionOptions> {
        self.lock().members.remove(id).map(Into::into)
    }

    /// Appends up to `limit` members from `position` on to `out`; whether the list ended.
    pub(crate) fn page(
        &self,
        position: usize,
        limit: usize,
        out: &mut dyn FnMut(SubscriberId, SubscriptionOptions),
    ) -> bool {
        let state = self.lock();
        let rest = state.members.as_slice().get(position..).unwrap_or_default();
        rest.iter().take(limit).map(unpack).for_each(|(id, options)| out(id, options));
        rest.len() <= limit
    }

    /// Chooses the member that gets a message; `None` if all are in `skip`, or none is left.
    ///
    /// An online member is preferred. If none is online an offline one is chosen, whose session queues the message.
    /// `skip` names members that could not take this message. Cost: O(1) while members are online, else O(members).
    pub fn pick(
        &self,
        strategy: Strategy,
        request: &PickRequest,
        is_online: &dyn Fn(SubscriberId) -> bool,
        skip: &[SubscriberId],
    ) -> Option<(SubscriberId, SubscriptionOptions)> {
        let mut state = self.lock();
        let State { members, cursor, publishers } = &mut *state;
        let candidates = Candidates { list: members.as_slice(), is_online, skip };
        let at = match strategy {
            Strategy::Random | Strategy::Local => candidates.at_random(request.random)?,
            Strategy::HashClientId => candidates.from(candidates.place(request.client_id_hash))?,
            Strategy::HashTopic => candidates.from(candidates.place(request.topic_hash))?,
            Strategy::RoundRobinPerGroup => {
                let at = candidates.from(*cursor)?;
                *cursor = at + 1;
                at
            }
            Strategy::RoundRobin => {
                let start = publishers.get(request.publisher).map(|next| next as usize);
                let at = candidates.from(start.unwrap_or_else(|| candidates.place(request.random)))?;
                publishers.set(request.publisher, u32::try_from(at + 1).unwrap_or_default());
                at
            }
            Strategy::Sticky => {
                let held = publishers.get(request.publisher);
                let at = candidates.sticky(held.and_then(|id| members.position(SubscriberId(id))), request.random)?;
                publishers.set(request.publisher, candidates.list.get(at)?.0.0);
                at
            }
        };
        candidates.list.get(at).map(unpack)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One number per publisher, for the publishers seen last: when the young half is full it becomes the old one.
#[derive(Debug, Default)]
struct PublisherMemory {
    young: HashMap<u64, u32>,
    old: HashMap<u64, u32>,
}

impl PublisherMemory {
    fn get(&self, publisher: u64) -> Option<u32> {
        self.young.get(&publisher).or_else(|| self.old.get(&publisher)).copied()
    }

    fn set(&mut self, publisher: u64, number: u32) {
        if self.young.len() >= PUBLISHERS_PER_HALF && !self.young.contains_key(&publisher) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(publisher, number);
    }
}

#[cfg(test)]
mod tests {
    use super::super::candidates::mix;
    use super::*;

    const EVERYONE: &dyn Fn(SubscriberId) -> bool = &|_| true;
    const NOBODY: &dyn Fn(SubscriberId) -> bool = &|_| false;

    fn group_of(members: u32) -> SharedGroup {
        let group = SharedGroup::new("g", "a/#");
        for id in 0..members {
            group.insert(SubscriberId(id), SubscriptionOptions::default());
        }
        group
    }

    fn picked(group: &SharedGroup, strategy: Strategy, request: PickRequest) -> Option<u32> {
        group.pick(strategy, &request, EVERYONE, &[]).map(|(id, _)| id.0)
    }

    fn random(number: u64) -> PickRequest {
        PickRequest { random: mix(number), ..PickRequest::default() }
    }

    #[test]
    fn every_strategy_is_found_by_its_name() {
        for (name, strategy) in Strategy::NAMES {
            assert_eq!(name.parse(), Ok(strategy));
        }
        let unknown = "Random".parse::<Strategy>();
        assert_eq!(unknown, Err(UnknownStrategy));
        assert!(UnknownStrategy.to_string().ends_with("local hash_clientid hash_topic"));
    }

    #[test]
    fn round_robin_goes_round_for_each_publisher_on_its_own() {
        let group = group_of(3);
        for publisher in [7, 8] {
            let request = PickRequest { publisher, random: 1, ..PickRequest::default() };
            let order: Vec<_> = (0..4).map(|_| picked(&group, Strategy::RoundRobin, request)).collect();
            assert_eq!(order, [Some(1), Some(2), Some(0), Some(1)]);
        }
    }

    #[test]
    fn round_robin_per_group_goes_round_over_all_publishers() {
        let group = group_of(3);
        let requests = (0..5).map(|publisher| PickRequest { publisher, ..random(publisher) });
        let order: Vec<_> = requests.map(|request| picked(&group, Strategy::RoundRobinPerGroup, request)).collect();
        assert_eq!(order, [Some(0), Some(1), Some(2), Some(0), Some(1)]);
    }

    #[test]
    fn cursors_survive_members_that_join_and_leave() {
        let group = group_of(3);
        picked(&group, Strategy::RoundRobinPerGroup, random(0));
        group.insert(SubscriberId(9), SubscriptionOptions::default());
        assert_eq!(picked(&group, Strategy::RoundRobinPerGroup, random(0)), Some(1));
        group.remove(SubscriberId(9));
        group.remove(SubscriberId(2));
        assert_eq!(picked(&group, Strategy::RoundRobinPerGroup, random(0)), Some(0));
    }

    #[test]
    fn sticky_stays_until_the_member_is_offline_or_leaves() {
        let group = group_of(8);
        let request = PickRequest { publisher: 5, ..random(1) };
        let first = group.pick(Strategy::Sticky, &request, EVERYONE, &[]).unwrap().0;
        let later = PickRequest { publisher: 5, ..random(99) };
        assert_eq!(picked(&group, Strategy::Sticky, later), Some(first.0));
        let second = group.pick(Strategy::Sticky, &later, &|id| id != first, &[]).unwrap().0;
        assert_ne!(second, first);
        assert_eq!(picked(&group, Strategy::Sticky, request), Some(second.0));
        group.remove(second);
        assert_ne!(picked(&group, Strategy::Sticky, request), Some(second.0));
    }

    #[test]
    fn sticky_keeps_an_offline_member_while_all_are_offline() {
        let group = group_of(8);
        let request = |number| PickRequest { publisher: 5, ..random(number) };
        let first = group.pick(Strategy::Sticky, &request(1), NOBODY, &[]).unwrap().0;
        for number in 2..20 {
            assert_eq!(group.pick(Strategy::Sticky, &request(number), NOBODY, &[]).unwrap().0, first);
        }
    }

    #[test]
    fn hash_strategies_depend_on_their_hash_only() {
        let group = group_of(5);
        for number in 0..20 {
            let request = PickRequest { client_id_hash: 12, topic_hash: 13, publisher: number, ..random(number) };
            assert_eq!(picked(&group, Strategy::HashClientId, request), Some(2));
            assert_eq!(picked(&group, Strategy::HashTopic, request), Some(3));
        }
    }

    #[test]
    fn random_reaches_every_online_member_about_equally() {
        let group = group_of(20);
        let mut counts = [0_u32; 20];
        for number in 0..4_000 {
            let is_online = |id: SubscriberId| id.0.is_multiple_of(10);
            let (id, _) = group.pick(Strategy::Random, &random(number), &is_online, &[]).unwrap();
            counts[id.0 as usize] += 1;
        }
        assert_eq!(counts.iter().filter(|&&count| count > 0).count(), 2);
        assert!(counts[0].abs_diff(counts[10]) < 400, "{counts:?}");
    }

    #[test]
    fn every_strategy_prefers_online_members_and_honours_skip() {
        for (name, strategy) in Strategy::NAMES {
            let group = group_of(4);
            for number in 0..50 {
                let request =
                    PickRequest { publisher: number % 3, client_id_hash: number, topic_hash: number, ..random(number) };
                let online = group.pick(strategy, &request, &|id| id.0 == 2, &[]);
                assert_eq!(online.map(|(id, _)| id.0), Some(2), "{name}");
                let skipped = group.pick(strategy, &request, &|id| id.0 == 2, &[SubscriberId(2), SubscriberId(0)]);
                assert!(matches!(skipped, Some((SubscriberId(1 | 3), _))), "{name}: {skipped:?}");
            }
            let all = [0, 1, 2, 3].map(SubscriberId);
            assert_eq!(group.pick(strategy, &random(0), EVERYONE, &all), None, "{name}");
            assert_eq!(group_of(0).pick(strategy, &random(0), EVERYONE, &[]), None, "{name}");
        }
    }

    #[test]
    fn publishers_are_forgotten_beyond_the_bound() {
        let group = group_of(3);
        for publisher in 0..100_000 {
            picked(&group, Strategy::RoundRobin, PickRequest { publisher, ..random(publisher) });
        }
        let state = group.lock();
        let remembered = state.publishers.young.len() + state.publishers.old.len();
        assert!(remembered <= 2 * PUBLISHERS_PER_HALF, "{remembered}");
        assert!(state.publishers.get(99_999).is_some());
    }
}
