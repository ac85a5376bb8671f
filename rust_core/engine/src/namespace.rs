//! `Namespace`: what the clients of one tenant share. Its limits, what it holds, its counters.
//!
//! Sessions, limited connections and retained messages keep it alive. Everything is atomic: two tenants never wait for
//! each other, and the clients of one tenant only for a compare and swap.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;

use crate::counters::{Counters, METRICS};
use crate::events::Event;
use crate::mailbox::Mailbox;
use crate::rate::{Limit, SharedMeter};

/// What a namespace may hold only so much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Quota {
    /// Subscriptions of all its sessions.
    Subscriptions,
    /// Retained messages that its clients published.
    Retained,
    /// Their bytes: topics, properties and payloads.
    RetainedBytes,
    /// Bytes in the queues of all its sessions.
    QueuedBytes,
}

/// Every quota with its key in the configuration and the name of its level.
pub const QUOTAS: &[(Quota, &str, &str)] = &[
    (Quota::Subscriptions, "max_subscriptions", "subscriptions"),
    (Quota::Retained, "max_retained", "retained"),
    (Quota::RetainedBytes, "max_retained_bytes", "retained_bytes"),
    (Quota::QueuedBytes, "max_queued_bytes", "queued_bytes"),
];
const QUOTA_COUNT: usize = QUOTAS.len();

impl Quota {
    /// Key in the configuration.
    #[must_use]
    pub fn key(self) -> &'static str {
        QUOTAS.get(self as usize).map_or("", |(_, key, _)| key)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Limits of all clients of a namespace together.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct TenantLimits {
    /// Messages published.
    pub messages: Limit,
    /// Bytes of their payloads.
    pub bytes: Limit,
}

/// Limits of each client of a namespace.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct ClientLimits {
    /// Messages published.
    pub messages: Limit,
    /// Bytes of their payloads.
    pub bytes: Limit,
    /// Messages delivered.
    pub delivery_messages: Limit,
    /// Bytes of their payloads.
    pub delivery_bytes: Limit,
    /// SUBSCRIBE packets.
    pub subscribes: Limit,
}

/// What an operator set for a namespace.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct NamespaceLimits {
    /// Numbers of the tenant limiter. They stay when it is disabled, for connections that were opened before.
    pub tenant: Option<Box<TenantLimits>>,
    /// Numbers of the client limiter; likewise.
    pub client: Option<Box<ClientLimits>>,
    /// Whether connections opened from now on are under the tenant limiter.
    pub has_tenant: bool,
    /// Whether they are under the client limiter.
    pub has_client: bool,
    /// Whether a client over a rate is not read for a while, instead of being refused.
    pub pauses: bool,
    /// Most of each [`Quota`]; `None` any number.
    pub quotas: [Option<u64>; QUOTA_COUNT],
}

/// One tenant in the engine.
pub struct Namespace {
    /// Its name.
    pub name: Arc<str>,
    /// Buckets of the tenant limiter for messages.
    pub messages: SharedMeter,
    /// Buckets of the tenant limiter for bytes.
    pub bytes: SharedMeter,
    limits: ArcSwap<NamespaceLimits>,
    version: AtomicU32,
    sessions: AtomicU64,
    held: [AtomicU64; QUOTA_COUNT],
    /// `u64::MAX` for any number; copied from the limits, for the message path.
    most: [AtomicU64; QUOTA_COUNT],
    breached: AtomicU8,
    telling: Mutex<()>,
    is_counted: AtomicBool,
    is_closed: AtomicBool,
    counters: ArcSwapOption<Counters>,
    events: Arc<Mailbox<Event>>,
}

impl Namespace {
    /// A namespace that holds nothing; `unlimited` is shared by all that have no limits.
    #[must_use]
    pub fn new(name: Arc<str>, unlimited: Arc<NamespaceLimits>, events: Arc<Mailbox<Event>>) -> Self {
        Self {
            name,
            messages: SharedMeter::default(),
            bytes: SharedMeter::default(),
            limits: ArcSwap::new(unlimited),
            version: AtomicU32::new(0),
            sessions: AtomicU64::new(0),
            held: [const { AtomicU64::new(0) }; QUOTA_COUNT],
            most: [const { AtomicU64::new(u64::MAX) }; QUOTA_COUNT],
            breached: AtomicU8::new(0),
            telling: Mutex::new(()),
            is_counted: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            counters: ArcSwapOption::empty(),
            events,
        }
    }

    /// Limits in force.
    #[must_use]
    pub fn limits(&self) -> Arc<NamespaceLimits> {
        self.limits.load_full()
    }

    /// Changes with the limits.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version.load(Ordering::Acquire)
    }

    /// Puts limits in force, for live connections too; a limiter that is disabled stays for those that have it.
    pub fn set_limits(&self, mut limits: NamespaceLimits, now_ms: u64) {
        let before = self.limits.load();
        if limits.tenant.is_none() {
            limits.tenant.clone_from(&before.tenant);
        }
        if limits.client.is_none() {
            limits.client.clone_from(&before.client);
        }
        self.replace_limits(Arc::new(limits), now_ms);
    }

    /// Puts limits in force as they are: what they leave out ends for live connections too.
    pub fn replace_limits(&self, limits: Arc<NamespaceLimits>, now_ms: u64) {
        for (most, quota) in self.most.iter().zip(limits.quotas) {
            most.store(quota.unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        let tenant = limits.tenant.as_deref().cloned().unwrap_or_default();
        self.messages.refit(&tenant.messages, now_ms);
        self.bytes.refit(&tenant.bytes, now_ms);
        self.limits.store(limits);
        self.version.fetch_add(1, Ordering::Release);
        for (quota, ..) in QUOTAS {
            self.relax(*quota);
        }
    }

    /// Starts to count, from zero, or stops.
    pub fn set_counted(&self, is_counted: bool) {
        if is_counted == self.is_counted() {
            return;
        }
        self.counters.store(is_counted.then(Arc::default));
        self.is_counted.store(is_counted, Ordering::Release);
    }

    /// Whether its traffic is counted.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.is_counted.load(Ordering::Acquire)
    }

    /// Its counters, if it has any.
    #[must_use]
    pub fn counters(&self) -> Option<Arc<Counters>> {
        self.counters.load_full()
    }

    /// Takes note that it was deleted: nothing of its clients is kept any more.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// Whether it was deleted. Exact for who keeps something under the lock under which the rest is then searched.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Takes note of a new session.
    pub fn enter(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes note of the end of a session.
    pub fn leave(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// How much it holds of what `quota` bounds.
    #[must_use]
    pub fn held(&self, quota: Quota) -> u64 {
        self.held.get(quota as usize).map_or(0, |held| held.load(Ordering::Relaxed))
    }

    /// How much more it may hold; `None` any number.
    #[must_use]
    pub fn room(&self, quota: Quota) -> Option<u64> {
        self.most(quota).map(|most| most.saturating_sub(self.held(quota)))
    }

    /// Whether it may hold so much more. If not, the operator is told once until there is room again.
    ///
    /// The answer is exact where the caller holds the lock under which the level changes.
    #[must_use]
    pub fn admits(&self, quota: Quota, more: u64) -> bool {
        let is_admitted = self.room(quota).is_none_or(|room| more <= room);
        if !is_admitted {
            self.exceed(quota);
        }
        is_admitted
    }

    /// Takes note that it holds more.
    pub fn add(&self, quota: Quota, n: u64) {
        if let Some(held) = self.held.get(quota as usize) {
            held.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Takes up to `wanted` of what it may still hold, and returns how much; whoever asks at the same time gets the rest.
    pub fn take(&self, quota: Quota, wanted: u64) -> u64 {
        let Some(held) = self.held.get(quota as usize) else { return wanted };
        let most = self.most(quota).unwrap_or(u64::MAX);
        let mut taken = 0;
        // It fails only where nothing is left to be taken.
        let _before = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            taken = wanted.min(most.saturating_sub(now));
            (taken > 0).then_some(now + taken)
        });
        taken
    }

    /// Takes note that it holds less.
    pub fn subtract(&self, quota: Quota, n: u64) {
        if let Some(held) = self.held.get(quota as usize) {
            held.fetch_sub(n, Ordering::Relaxed);
        }
        self.relax(quota);
    }

    /// Tells that a quota refuses something, unless that was told already.
    pub fn exceed(&self, quota: Quota) {
        if self.breached.load(Ordering::Relaxed) & quota.bit() != 0 {
            return;
        }
        let _one_at_a_time = self.telling.lock();
        if self.breached.fetch_or(quota.bit(), Ordering::Relaxed) & quota.bit() == 0 {
            self.tell(quota, true);
        }
    }

    /// Tells that there is room again after a refusal: a tenth of the quota, so that a full namespace is not told of
    /// with every message.
    fn relax(&self, quota: Quota) {
        if self.breached.load(Ordering::Relaxed) & quota.bit() == 0 {
            return;
        }
        let _one_at_a_time = self.telling.lock();
        let held = self.held(quota);
        let has_room = self.most(quota).is_none_or(|most| held < most && most - held >= most / 10);
        if has_room && self.breached.fetch_and(!quota.bit(), Ordering::Relaxed) & quota.bit() != 0 {
            self.tell(quota, false);
        }
    }

    fn tell(&self, quota: Quota, is_exceeded: bool) {
        let (held, most) = (self.held(quota), self.most(quota));
        self.events.push(Event::Quota { namespace: Arc::clone(&self.name), quota, is_exceeded, held, most });
    }

    /// How much it may hold; `None` any number.
    #[must_use]
    pub fn most(&self, quota: Quota) -> Option<u64> {
        let most = self.most.get(quota as usize).map_or(u64::MAX, |most| most.load(Ordering::Relaxed));
        (most != u64::MAX).then_some(most)
    }

    /// What it holds and, where it is counted, what passed since then, by name.
    #[must_use]
    pub fn stats(&self) -> Vec<(&'static str, u64)> {
        let mut stats = vec![("sessions", self.sessions.load(Ordering::Relaxed))];
        stats.extend(QUOTAS.iter().map(|(quota, _, level)| (*level, self.held(*quota))));
        if let Some(counters) = self.counters() {
            stats.extend(METRICS.iter().map(|(metric, name)| (*name, counters.get(*metric))));
        }
        stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(quota: Quota, most: u64) -> Result<(Namespace, Arc<Mailbox<Event>>), std::io::Error> {
        let events = Arc::new(Mailbox::new()?);
        let mut limits = NamespaceLimits::default();
        limits.quotas[quota as usize] = Some(most);
        let namespace = Namespace::new("n1".into(), Arc::default(), Arc::clone(&events));
        namespace.set_limits(limits, 0);
        Ok((namespace, events))
    }

    fn told(events: &Mailbox<Event>) -> Vec<bool> {
        let events = events.take_all().into_iter();
        events
            .filter_map(|event| if let Event::Quota { is_exceeded, .. } = event { Some(is_exceeded) } else { None })
            .collect()
    }

    #[test]
    fn a_crossing_is_told_once_and_its_end_once() -> Result<(), std::io::Error> {
        let (namespace, events) = namespace(Quota::Subscriptions, 20)?;
        namespace.add(Quota::Subscriptions, 20);
        assert!((0..5).all(|_| !namespace.admits(Quota::Subscriptions, 1)));
        assert_eq!(told(&events), [true]);
        namespace.subtract(Quota::Subscriptions, 1);
        assert!(told(&events).is_empty(), "a tenth must be free");
        namespace.subtract(Quota::Subscriptions, 1);
        namespace.subtract(Quota::Subscriptions, 1);
        assert_eq!(told(&events), [false]);
        assert!(namespace.admits(Quota::Subscriptions, 3) && !namespace.admits(Quota::Subscriptions, 4));
        Ok(())
    }

    #[test]
    fn what_is_left_is_shared_out_exactly() -> Result<(), std::io::Error> {
        let (namespace, _) = namespace(Quota::QueuedBytes, 1_000)?;
        let taken: u64 = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..500).map(|_| namespace.take(Quota::QueuedBytes, 3)).sum::<u64>()))
                .collect();
            takers.into_iter().filter_map(|taker| taker.join().ok()).sum()
        });
        assert_eq!((taken, namespace.held(Quota::QueuedBytes)), (1_000, 1_000));
        Ok(())
    }

    #[test]
    fn a_higher_quota_ends_the_crossing() -> Result<(), std::io::Error> {
        let (namespace, events) = namespace(Quota::Retained, 0)?;
        assert!(!namespace.admits(Quota::Retained, 1));
        namespace.replace_limits(Arc::default(), 0);
        assert_eq!(told(&events), [true, false]);
        Ok(())
    }

    #[test]
    fn a_limiter_that_is_disabled_stays_for_open_connections_until_the_namespace_goes() -> Result<(), std::io::Error> {
        let (namespace, _) = namespace(Quota::Retained, 0)?;
        let enabled = NamespaceLimits { client: Some(Box::default()), has_client: true, ..NamespaceLimits::default() };
        namespace.set_limits(enabled, 0);
        namespace.set_limits(NamespaceLimits::default(), 0);
        assert!(namespace.limits().client.is_some() && !namespace.limits().has_client);
        namespace.replace_limits(Arc::default(), 0);
        assert!(namespace.limits().client.is_none());
        Ok(())
    }

    #[test]
    fn counters_begin_at_zero_each_time() -> Result<(), std::io::Error> {
        let (namespace, _) = namespace(Quota::Retained, 0)?;
        assert_eq!(namespace.stats().len(), 1 + QUOTAS.len());
        namespace.set_counted(true);
        assert_eq!(namespace.stats().len(), 1 + QUOTAS.len() + METRICS.len());
        Ok(())
    }

    #[test]
    fn a_namespace_takes_less_than_a_kilobyte() {
        let size = size_of::<Namespace>() + size_of::<NamespaceLimits>() + size_of::<Counters>();
        assert!(size < 900, "{size}");
    }
}
