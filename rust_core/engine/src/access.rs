//! What clients may do: who is judged (`Subject`), by which steps (`AccessChain`), and what came of it (`Decision`).
//!
//! A chain is immutable and swapped whole; threads look at a new one once per turn. Judging takes no lock. A step that
//! only Python can take ends the walk with `Answer::Ask`; Python goes on behind it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pybroker_core::acl::{AccessRules, Action, Client, Permission, Place, Verdict, judged_topic};
use pybroker_core::topic;

use crate::counters::{Metric, Tally};
use crate::sys;

/// What is known of one client for the life of a connection.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Final client id.
    pub client_id: Box<str>,
    /// User name; an empty one counts as none.
    pub username: Option<Box<str>>,
    /// Address of the peer; `None` for a Unix socket.
    pub peer_ip: Option<IpAddr>,
    /// Port of the peer; rules do not see it.
    pub peer_port: u16,
    /// Port of the listener; nor this.
    pub local_port: u16,
    /// Namespace; an empty one counts as none.
    pub namespace: Option<Box<str>>,
    /// Zone of the listener.
    pub zone: Box<str>,
    /// Listener as `type:name`.
    pub listener: Box<str>,
    /// Common name of the client's certificate.
    pub cert_common_name: Option<Box<str>>,
    /// Client attributes, name and value.
    pub attributes: Box<[(Box<str>, Box<str>)]>,
    /// What its TLS or WebSocket handshake has told, for remote sources and preconditions, name and value.
    pub handshake: Box<[(Box<str>, Box<str>)]>,
    /// Prefix of its topics.
    pub mountpoint: Box<str>,
}

impl Facts {
    /// The client as rules see it.
    #[must_use]
    pub fn client(&self) -> Client<'_> {
        Client {
            client_id: &self.client_id,
            username: self.username.as_deref(),
            peer_ip: self.peer_ip,
            namespace: self.namespace.as_deref(),
            zone: &self.zone,
            listener: &self.listener,
            cert_common_name: self.cert_common_name.as_deref(),
            attributes: &self.attributes,
        }
    }

    fn is_loopback(&self) -> bool {
        self.peer_ip.is_none_or(|address| address.to_canonical().is_loopback())
    }
}

/// Rules that authentication attached to one client; they are asked before every source.
#[derive(Debug, Clone)]
pub struct OwnRules {
    /// The rules.
    pub rules: Arc<AccessRules>,
    /// Whether what they do not match is denied; otherwise the sources go on.
    pub is_final: bool,
}

/// A client as access control sees it.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// What rules may look at.
    pub facts: Arc<Facts>,
    /// Whether everything is allowed.
    pub is_superuser: bool,
    /// Rules of its own.
    pub own: Option<OwnRules>,
    /// Unix second from which on everything is denied; `None`: never.
    pub expire_at_s: Option<u64>,
}

impl Subject {
    /// Whether it is judged even where the chain decides nothing.
    #[must_use]
    pub fn is_special(&self) -> bool {
        self.is_superuser || self.own.is_some() || self.expire_at_s.is_some()
    }
}

/// How often a source was consulted and what came of it.
#[derive(Debug, Default)]
pub struct SourceCounters {
    counts: [AtomicU64; 4],
}

/// What a source said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Allow.
    Allow,
    /// Deny.
    Deny,
    /// It has no rule that matches.
    NoMatch,
    /// It was passed over or has failed.
    Ignore,
}

impl SourceCounters {
    /// Counts one consultation.
    pub fn count(&self, said: Said) {
        self.add(said, 1);
    }

    fn add(&self, said: Said, n: u64) {
        if let Some(count) = self.counts.get(said as usize) {
            count.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Allow, deny, nomatch, ignore.
    #[must_use]
    pub fn values(&self) -> [u64; 4] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Starts again at zero.
    pub fn reset(&self) {
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
    }
}

/// One source in its place.
#[derive(Debug, Clone)]
pub struct Step {
    /// Type of the source, which names it.
    pub name: Box<str>,
    /// Its rules; `None`: only Python can ask it.
    pub rules: Option<Arc<AccessRules>>,
    /// Its counters, which outlive the chain.
    pub counters: Arc<SourceCounters>,
}

/// Who may subscribe `$SYS` topics where no rule decides and everything else is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SysTopics {
    /// Clients on this machine.
    Loopback,
    /// Everyone.
    Everyone,
    /// Nobody.
    Nobody,
}

/// How long verdicts on publications are kept, and how many of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// Most verdicts of one client.
    pub max_len: usize,
    /// A verdict holds for so long.
    pub ttl_ms: u64,
}

/// What holds for every check.
#[derive(Debug, Clone)]
pub struct AccessPolicy {
    /// What no step decides.
    pub no_match: Permission,
    /// Whether a denied client is disconnected.
    pub disconnects: bool,
    /// Whether rules see the mountpoint.
    pub includes_mountpoint: bool,
    /// Default of `$SYS` topics.
    pub sys_topics: SysTopics,
    /// How verdicts are kept; `None`: they are not.
    pub keeping: Option<Keeping>,
    /// Filters of topics whose verdicts are not kept.
    pub excludes: Box<[Box<str>]>,
}

impl Default for AccessPolicy {
    fn default() -> Self {
        Self {
            no_match: Permission::Allow,
            disconnects: false,
            includes_mountpoint: false,
            sys_topics: SysTopics::Loopback,
            keeping: Some(Keeping { max_len: 32, ttl_ms: 60_000 }),
            excludes: Box::default(),
        }
    }
}

/// The steps in their order, and what holds where none decides.
#[derive(Debug, Clone, Default)]
pub struct AccessChain {
    /// Sources that are enabled.
    pub steps: Vec<Step>,
    /// What holds for every check.
    pub policy: AccessPolicy,
    /// Number of this chain; 0 until it is in force.
    pub version: u64,
    is_open: bool,
}

/// What a check comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It may be done.
    Allow,
    /// It may not.
    Deny,
    /// Python must ask the step of this index.
    Ask(usize),
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The client is a superuser.
    Superuser,
    /// The client's rights have ended.
    Expired,
    /// A `$delayed/` topic without a second slash.
    Malformed,
    /// The client's own rules; the rule, or `None` where what they do not list is denied.
    OwnRules(Option<Place>),
    /// A rule of the step of this index.
    Step(usize, Place),
    /// Nothing: the mode, or the default of `$SYS` topics.
    NoMatch,
    /// Not decided yet.
    Nothing,
}

/// Outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub answer: Answer,
    /// What decided.
    pub by: By,
}

impl Decision {
    fn of(permission: Permission, by: By) -> Self {
        let answer = match permission {
            Permission::Allow => Answer::Allow,
            Permission::Deny => Answer::Deny,
        };
        Self { answer, by }
    }

    fn deny(by: By) -> Self {
        Self { answer: Answer::Deny, by }
    }

    /// Counts what was decided and by what.
    pub fn count(&self, tally: &mut Tally) {
        let is_allowed = self.answer == Answer::Allow;
        match self.by {
            By::Superuser => tally.count(Metric::AuthorizationSuperuser),
            By::NoMatch => tally.count(Metric::AuthorizationNoMatch),
            By::OwnRules(_) | By::Step(..) if is_allowed => tally.count(Metric::AuthorizationMatchedAllow),
            By::OwnRules(_) | By::Step(..) => tally.count(Metric::AuthorizationMatchedDeny),
            By::Expired | By::Malformed => {}
            By::Nothing => return,
        }
        count_answer(tally, is_allowed);
    }
}

/// Counts one final answer.
pub fn count_answer(tally: &mut Tally, is_allowed: bool) {
    tally.count(if is_allowed { Metric::AuthorizationAllow } else { Metric::AuthorizationDeny });
}

/// A question to a chain.
#[derive(Clone, Copy)]
pub struct Check<'a> {
    /// Who asks.
    pub subject: &'a Subject,
    /// What is to be done.
    pub action: Action,
    /// Topic or raw filter as the client wrote it.
    pub topic: &'a str,
    /// First step to be taken.
    pub from: usize,
    /// Whether counters of the sources move.
    pub is_counted: bool,
}

impl AccessChain {
    /// A chain that is not in force yet.
    #[must_use]
    pub fn new(steps: Vec<Step>, policy: AccessPolicy) -> Self {
        let is_idle = |step: &Step| step.rules.as_ref().is_some_and(|rules| rules.rule_count() == 0);
        let is_open = policy.no_match == Permission::Allow && steps.iter().all(is_idle);
        Self { steps, policy, version: 0, is_open }
    }

    /// Rules of all steps.
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.steps.iter().filter_map(|step| step.rules.as_ref()).map(|rules| rules.rule_count()).sum()
    }

    /// Whether no other chain, and nobody else, holds its rules.
    #[must_use]
    pub fn is_held_by_one(&self) -> bool {
        self.steps.iter().filter_map(|step| step.rules.as_ref()).all(|rules| Arc::strong_count(rules) == 1)
    }

    /// Whether it allows every publication of clients that are not special.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Counts `n` publications that an open chain let pass without being asked.
    pub fn count_open(&self, n: u64, tally: &mut Tally) {
        tally.add(Metric::ClientAuthorize, n);
        tally.add(Metric::AuthorizationNoMatch, n);
        tally.add(Metric::AuthorizationAllow, n);
        if self.policy.keeping.is_some() {
            tally.add(Metric::AuthorizationCacheMiss, n);
        }
        for step in &self.steps {
            step.counters.add(Said::NoMatch, n);
        }
    }

    /// Decides. `scratch` is written only where rules see mountpoints.
    #[must_use]
    pub fn judge(&self, check: &Check<'_>, scratch: &mut String) -> Decision {
        let Check { subject, action, .. } = *check;
        let facts = &*subject.facts;
        let mountpoint = if self.policy.includes_mountpoint { &*facts.mountpoint } else { "" };
        let Some(topic) = judged_topic(action, check.topic, mountpoint, scratch) else {
            return Decision::deny(By::Malformed);
        };
        if check.from == 0 {
            if subject.expire_at_s.is_some_and(|at_s| sys::unix_s() >= at_s) {
                return Decision::deny(By::Expired);
            }
            if subject.is_superuser {
                return Decision::of(Permission::Allow, By::Superuser);
            }
            if let Some(own) = &subject.own {
                match own.rules.check(&facts.client(), action, topic) {
                    Verdict::Decided { permission, place } => {
                        return Decision::of(permission, By::OwnRules(Some(place)));
                    }
                    Verdict::NoMatch if own.is_final => return Decision::deny(By::OwnRules(None)),
                    Verdict::NoMatch => {}
                }
            }
        }
        self.walk(check, &facts.client(), topic)
    }

    fn walk(&self, check: &Check<'_>, client: &Client<'_>, topic: &str) -> Decision {
        for (index, step) in self.steps.iter().enumerate().skip(check.from) {
            let Some(rules) = &step.rules else {
                return Decision { answer: Answer::Ask(index), by: By::Nothing };
            };
            let verdict = rules.check(client, check.action, topic);
            let said = match verdict {
                Verdict::NoMatch => Said::NoMatch,
                Verdict::Decided { permission: Permission::Allow, .. } => Said::Allow,
                Verdict::Decided { permission: Permission::Deny, .. } => Said::Deny,
            };
            if check.is_counted {
                step.counters.count(said);
            }
            if let Verdict::Decided { permission, place } = verdict {
                return Decision::of(permission, By::Step(index, place));
            }
        }
        let permission = if self.allows_unmatched(check, topic) { Permission::Allow } else { Permission::Deny };
        Decision::of(permission, By::NoMatch)
    }

    /// What holds where no rule decides: the mode, and for `$SYS` subscriptions a default of their own.
    fn allows_unmatched(&self, check: &Check<'_>, topic: &str) -> bool {
        if self.policy.no_match == Permission::Deny {
            return false;
        }
        let is_sys = matches!(check.action, Action::Subscribe { .. })
            && topic.strip_prefix("$SYS").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        !is_sys
            || match self.policy.sys_topics {
                SysTopics::Everyone => true,
                SysTopics::Nobody => false,
                SysTopics::Loopback => check.subject.facts.is_loopback(),
            }
    }

    /// Whether verdicts on a topic are kept.
    #[must_use]
    pub fn keeps(&self, topic: &str) -> Option<Keeping> {
        self.policy.keeping.filter(|_| !self.policy.excludes.iter().any(|filter| topic::matches(filter, topic)))
    }
}
