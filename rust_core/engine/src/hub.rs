//! `Hub`: the state that all shards and Python share. Subscriptions, sessions, retained messages, settings, counters.
//!
//! Lock order: trie, then slab, then one session. Nothing here waits for the network.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::{Mutex, RwLock};
use pybroker_core::trie::{SubscriberId, Trie};

use crate::access::{AccessChain, AccessPolicy, SourceCounters};
use crate::cache::Generations;
use crate::command::Command;
use crate::counters::Counters;
use crate::delayed::Delayed;
use crate::events::Event;
use crate::link::ConnId;
use crate::listener::Listeners;
use crate::mailbox::Mailbox;
use crate::namespaces::Namespaces;
use crate::retained::Retained;
use crate::retirement::Retirement;
use crate::session::{Mount, Session};
use crate::settings::Settings;
use crate::shard::shard_of;
use crate::silenced::Silenced;
use crate::slow::SlowTable;
use crate::trace::{TraceRecords, TraceSpec};

/// Shared state of one engine.
pub struct Hub {
    /// Every subscription.
    pub trie: RwLock<Trie>,
    /// Which subscriptions changed, for the match caches.
    pub generations: Generations,
    /// Retained messages.
    pub retained: Retained,
    /// Counters since start.
    pub counters: Counters,
    /// Events for Python.
    pub events: Arc<Mailbox<Event>>,
    /// Commands to each shard, by its number.
    pub shards: Box<[Mailbox<Command>]>,
    /// Connections held by each shard, to place new ones.
    pub loads: Box<[AtomicUsize]>,
    /// Open listeners.
    pub listeners: Listeners,
    /// Tenants.
    pub namespaces: Namespaces,
    /// Messages that wait for their time.
    pub delayed: Mutex<Delayed>,
    /// Client ids whose retained messages are passed over.
    pub silenced: Silenced,
    /// The slowest deliveries of late.
    pub slow: Arc<SlowTable>,
    /// What was traced and waits to be taken.
    pub trace_records: Arc<TraceRecords>,
    traces: ArcSwapOption<TraceSpec>,
    traces_version: AtomicU64,
    settings: ArcSwap<Settings>,
    settings_version: AtomicU64,
    access: ArcSwap<AccessChain>,
    access_version: AtomicU64,
    retirement: Arc<Retirement>,
    sources: Mutex<HashMap<Box<str>, Arc<SourceCounters>>>,
    sessions: RwLock<Slab>,
    mounts: Mutex<HashMap<Box<str>, Weak<Mount>>>,
    /// Node name.
    pub node: OnceLock<Box<str>>,
}

#[derive(Default)]
struct Slab {
    slots: Vec<Option<Arc<Session>>>,
    free: Vec<u32>,
}

impl Hub {
    /// State for `shards` shards (at least 1).
    ///
    /// # Errors
    /// The system's error when descriptors are used up.
    pub fn new(shards: usize) -> io::Result<Self> {
        let shards = shards.max(1);
        let events = Arc::new(Mailbox::new()?);
        Ok(Self {
            trie: RwLock::new(Trie::new()),
            generations: Generations::default(),
            retained: Retained::default(),
            counters: Counters::default(),
            namespaces: Namespaces::new(Arc::clone(&events)),
            events,
            shards: (0..shards).map(|_| Mailbox::new()).collect::<io::Result<_>>()?,
            loads: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
            listeners: Listeners::default(),
            delayed: Mutex::default(),
            silenced: Silenced::default(),
            slow: Arc::default(),
            trace_records: Arc::default(),
            traces: ArcSwapOption::empty(),
            traces_version: AtomicU64::new(0),
            settings: ArcSwap::from_pointee(Settings::default()),
            settings_version: AtomicU64::new(1),
            access: ArcSwap::from_pointee(AccessChain::new(Vec::new(), AccessPolicy::default())),
            access_version: AtomicU64::new(0),
            retirement: Arc::default(),
            sources: Mutex::default(),
            sessions: RwLock::default(),
            mounts: Mutex::default(),
            node: OnceLock::new(),
        })
    }

    /// Settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Changes with every new set of settings.
    #[must_use]
    pub fn settings_version(&self) -> u64 {
        self.settings_version.load(Ordering::Acquire)
    }

    /// What is traced; `None`: nothing.
    #[must_use]
    pub fn traces(&self) -> Option<Arc<TraceSpec>> {
        self.traces.load_full()
    }

    /// Changes with everything that is to be traced.
    #[must_use]
    pub fn traces_version(&self) -> u64 {
        self.traces_version.load(Ordering::Acquire)
    }

    /// Traces this from now on; threads take it up at their next turn.
    pub fn set_traces(&self, spec: Option<TraceSpec>) {
        self.traces.store(spec.map(Arc::new));
        self.traces_version.fetch_add(1, Ordering::Release);
    }

    /// Puts new settings in force; threads take them up at their next turn.
    pub fn configure(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
        self.settings_version.fetch_add(1, Ordering::Release);
    }

    /// Access control in force.
    #[must_use]
    pub fn access(&self) -> Arc<AccessChain> {
        self.access.load_full()
    }

    /// Changes with every new chain.
    #[must_use]
    pub fn access_version(&self) -> u64 {
        self.access_version.load(Ordering::Acquire)
    }

    /// Puts a chain in force; threads take it up at their next turn. Every kept verdict is forgotten then.
    pub fn set_access(&self, mut chain: AccessChain) {
        // One at a time: Python changes the chain from its loop only, but a version must never name two chains.
        let sources = self.sources.lock();
        chain.version = self.access_version() + 1;
        let old = self.access.swap(Arc::new(chain));
        self.access_version.fetch_add(1, Ordering::Release);
        drop(sources);
        self.retirement.keep(old);
    }

    /// Counters of a source by its type; they start at zero when it is first named.
    #[must_use]
    pub fn source_counters(&self, name: &str) -> Arc<SourceCounters> {
        Arc::clone(self.sources.lock().entry(name.into()).or_default())
    }

    /// Makes a session and gives it a free number. An empty namespace is none.
    pub fn create_session(&self, client_id: &str, mountpoint: &str, namespace: &str) -> Arc<Session> {
        let mount = self.mount(mountpoint);
        let namespace = self.namespaces.of(namespace);
        if let Some(namespace) = &namespace {
            namespace.enter();
        }
        let mut slab = self.sessions.write();
        let slot = slab.free.pop().unwrap_or_else(|| {
            slab.slots.push(None);
            u32::try_from(slab.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let session = Arc::new(Session::new(SubscriberId(slot), client_id, mount, namespace));
        if let Some(place) = slab.slots.get_mut(slot as usize) {
            *place = Some(Arc::clone(&session));
        }
        session
    }

    /// The session of a number, if there is one.
    #[must_use]
    pub fn session(&self, id: SubscriberId) -> Option<Arc<Session>> {
        self.sessions.read().slots.get(id.0 as usize).and_then(Clone::clone)
    }

    /// Calls `visit` with each of `ids` that exists, under one lock.
    pub fn with_sessions<I: IntoIterator<Item = SubscriberId>>(&self, ids: I, mut visit: impl FnMut(&Arc<Session>)) {
        let slab = self.sessions.read();
        for id in ids {
            if let Some(Some(session)) = slab.slots.get(id.0 as usize) {
                visit(session);
            }
        }
    }

    /// Frees the number of a session that has ended.
    pub fn free_session(&self, id: SubscriberId) {
        let mut slab = self.sessions.write();
        if let Some(place) = slab.slots.get_mut(id.0 as usize)
            && let Some(session) = place.take()
        {
            slab.free.push(id.0);
            if let Some(namespace) = &session.namespace {
                namespace.leave();
            }
        }
    }

    /// Number of sessions, connected or not.
    #[must_use]
    pub fn session_count(&self) -> usize {
        let slab = self.sessions.read();
        slab.slots.len() - slab.free.len()
    }

    /// One more than the highest number that a session has had.
    #[must_use]
    pub fn session_slots(&self) -> u32 {
        u32::try_from(self.sessions.read().slots.len()).unwrap_or(u32::MAX)
    }

    /// How much of what there is, by name.
    #[must_use]
    pub fn levels(&self) -> Vec<(&'static str, u64)> {
        let (subscriptions, shared, topics) = {
            let trie = self.trie.read();
            (trie.subscription_count(), trie.shared_count(), trie.topic_count())
        };
        let connections: usize = self.loads.iter().map(|load| load.load(Ordering::Relaxed)).sum();
        vec![
            ("connections", connections as u64),
            ("sessions", self.session_count() as u64),
            ("subscriptions", subscriptions as u64),
            ("subscriptions.shared", shared as u64),
            ("topics", topics as u64),
            ("retained", self.retained.len() as u64),
            ("retained_bytes", self.retained.bytes() as u64),
            ("delayed", self.delayed.lock().len() as u64),
        ]
    }

    /// The one shared `Mount` of a prefix; `None` for the empty prefix.
    #[must_use]
    pub fn mount(&self, prefix: &str) -> Option<Arc<Mount>> {
        if prefix.is_empty() {
            return None;
        }
        let mut mounts = self.mounts.lock();
        if let Some(mount) = mounts.get(prefix).and_then(Weak::upgrade) {
            return Some(mount);
        }
        if mounts.len() >= 1024 && mounts.len().is_power_of_two() {
            mounts.retain(|_, mount| mount.strong_count() > 0);
        }
        let mount = Arc::new(Mount { prefix: prefix.into() });
        mounts.insert(prefix.into(), Arc::downgrade(&mount));
        Some(mount)
    }

    /// Asks the shard of a connection to send it more at a later time.
    pub fn pump_at(&self, conn: ConnId, at_ms: u64) {
        if let Some(mailbox) = self.shards.get(shard_of(conn)) {
            mailbox.push(Command::Pump { conn, at_ms });
        }
    }

    /// The shard that holds the fewest connections, or `own` unless it holds clearly more.
    #[must_use]
    pub fn place(&self, own: usize) -> usize {
        const SLACK: usize = 8;
        let load = |at: usize| self.loads.get(at).map_or(usize::MAX, |load| load.load(Ordering::Relaxed));
        let least = (0..self.loads.len()).min_by_key(|at| load(*at)).unwrap_or(own);
        if load(own) > load(least) + SLACK { least } else { own }
    }
}
