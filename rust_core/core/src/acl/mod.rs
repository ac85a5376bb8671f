//! Access rules: compiled when they are written, immutable afterwards, swapped whole by the caller.
//!
//! A check looks up the lists of the client (client id, `${clientid}`, user name, `${username}`, all users) by hash and
//! ends at the first rule that decides. It takes no lock and allocates nothing (an expression's first search does). What
//! holds where no rule decides, superusers, caches and the chain of sources are the caller's.

mod compile;
mod condition;
mod index;
mod list;
mod named;
mod pattern;
mod request;
mod rule;
mod spec;
mod template;
mod trace;

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

pub use request::{Action, Client, judged_topic};
pub use spec::{
    ClientField, ConditionSpec, ListSpec, Permission, Principal, Profile, RuleAction, RuleError, RuleErrorCode,
    RuleSpec, Settings, SubscribeMatch, TemplateAllow, TextSpec, TopicsSpec,
};
pub use trace::{Outcome, Trace, TraceEntry};

use compile::Compiler;
use list::List;
use named::Named;
use rule::Question;

/// Principal name that stands for every client.
const EVERY_CLIENT: &str = "${clientid}";

/// Principal name that stands for every client with a user name.
const EVERY_USER: &str = "${username}";

/// Which kind of list a rule stands in; also the order in which lists are asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ListKind {
    /// The client's own id.
    ClientId,
    /// The principal `${clientid}`.
    EveryClient,
    /// The client's user name.
    Username,
    /// The principal `${username}`.
    EveryUser,
    /// All users.
    All,
}

impl ListKind {
    /// All kinds in the order in which they are asked.
    pub const ORDER: &'static [Self] = &[Self::ClientId, Self::EveryClient, Self::Username, Self::EveryUser, Self::All];

    /// Returns the name in the REST API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientId => "clientid",
            Self::EveryClient => EVERY_CLIENT,
            Self::Username => "username",
            Self::EveryUser => EVERY_USER,
            Self::All => "all",
        }
    }
}

/// Where a rule stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Whether it is a global rule; otherwise it belongs to the client's namespace.
    pub is_global: bool,
    /// Its list.
    pub list: ListKind,
    /// Its index in the list as it was written. Of rules that are equal but for their permission this is the last one,
    /// whose permission counts, although it is tried at the place of the first.
    pub rule: u32,
}

/// Answer of a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A rule decided.
    Decided {
        /// What holds. `Deny` also for an allow rule whose placeholder has no usable value, in the hardened profile.
        permission: Permission,
        /// The rule.
        place: Place,
    },
    /// No rule matches; the next source or the mode decides.
    NoMatch,
}

/// Lists of one namespace, or the global ones. None of them is empty.
#[derive(Clone, Debug, Default)]
struct Scope {
    clients: Named,
    every_client: Option<Arc<List>>,
    users: Named,
    every_user: Option<Arc<List>>,
    all: Option<Arc<List>>,
    rules: usize,
}

/// A compiled set of rules.
#[derive(Clone, Debug)]
pub struct AccessRules {
    settings: Settings,
    hasher: RandomState,
    global: Arc<Scope>,
    /// Only namespaces with at least one rule: the others fall back to the global lists.
    namespaces: HashMap<Box<str>, Arc<Scope>>,
}

impl AccessRules {
    /// Compiles lists of rules; of two lists of one principal the later counts.
    ///
    /// # Errors
    /// Every fault found, at most 1,000, in the order of the lists; then nothing is compiled.
    pub fn compile(settings: Settings, lists: impl IntoIterator<Item = ListSpec>) -> Result<Self, Vec<RuleError>> {
        Self::empty(settings).replace(lists)
    }

    /// Returns a set without rules.
    #[must_use]
    pub fn empty(settings: Settings) -> Self {
        Self { settings, hasher: RandomState::default(), global: Arc::default(), namespaces: HashMap::new() }
    }

    /// Whether another set has some of the same lists, so that dropping this one frees next to nothing. O(namespaces).
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.global) > 1 || self.namespaces.values().any(|scope| Arc::strong_count(scope) > 1)
    }

    /// Returns a copy in which these lists take the place of those of the same principals; an empty one removes.
    ///
    /// Lists that stay are shared, so the cost is the compilation of what is given, and some microseconds.
    ///
    /// # Errors
    /// As `compile`.
    pub fn replace(&self, lists: impl IntoIterator<Item = ListSpec>) -> Result<Self, Vec<RuleError>> {
        let mut compiler = Compiler::new(self.settings, &self.hasher);
        let mut next = self.clone();
        for spec in lists {
            let (namespace, principal, list) = compiler.compile(spec);
            next.scope_of(namespace).put(&principal, list, &self.hasher);
        }
        compiler.finish()?;
        next.namespaces.retain(|_, scope| scope.rules > 0);
        Ok(next)
    }

    /// Returns the same rules with another reading of SUBSCRIBE filters; nothing is compiled. O(namespaces).
    #[must_use]
    pub fn reading(&self, subscribe_match: SubscribeMatch) -> Self {
        Self { settings: Settings { subscribe_match, ..self.settings }, ..self.clone() }
    }

    /// How the rules were compiled.
    #[must_use]
    pub const fn settings(&self) -> Settings {
        self.settings
    }

    /// Number of rules that take part in checks: those that equal ones replace do not count. O(namespaces).
    #[must_use]
    pub fn rule_count(&self) -> usize {
        self.namespaces.values().map(|scope| scope.rules).sum::<usize>() + self.global.rules
    }

    /// Decides whether a client may do something; `topic` is what `judged_topic` returns.
    ///
    /// Cost: two hash look-ups, then each rule of the client's lists until one decides; of a long list only the rules
    /// whose literal levels are those of the topic.
    #[must_use]
    pub fn check(&self, client: &Client<'_>, action: Action, topic: &str) -> Verdict {
        let question = Question::new(client, action, topic, self.settings);
        let (is_global, scope) = self.scope(client);
        for (kind, list) in scope.lists(client, &self.hasher) {
            if let Some((permission, rule)) = list.find(&question, &self.hasher) {
                let place = Place { is_global, list: kind, rule: rule.index };
                return Verdict::Decided { permission, place };
            }
        }
        Verdict::NoMatch
    }

    /// Decides as `check` does and says of each rule of the client's lists why it did not match.
    ///
    /// At most `limit` entries are returned; the verdict does not depend on it. Cost: O(rules of the client's lists).
    #[must_use]
    pub fn explain(&self, client: &Client<'_>, action: Action, topic: &str, limit: usize) -> Trace {
        let question = Question::new(client, action, topic, self.settings);
        let (is_global, scope) = self.scope(client);
        let mut trace = Trace::new(self.check(client, action, topic), limit);
        for (kind, list) in scope.lists(client, &self.hasher) {
            trace.add_list(list, &question, action, |rule| Place { is_global, list: kind, rule });
        }
        trace
    }

    /// The lists that a client is judged by, and whether they are the global ones. A namespace with a rule of its own,
    /// whoever's it is, is never judged by the global lists.
    fn scope(&self, client: &Client<'_>) -> (bool, &Scope) {
        match client.namespace().and_then(|name| self.namespaces.get(name)) {
            Some(own) => (false, own),
            None => (true, &self.global),
        }
    }

    fn scope_of(&mut self, namespace: Option<String>) -> &mut Scope {
        Arc::make_mut(match namespace {
            None => &mut self.global,
            Some(name) => self.namespaces.entry(name.into()).or_default(),
        })
    }
}

impl Scope {
    fn put(&mut self, principal: &Principal, list: List, hasher: &RandomState) {
        let added = list.rules().len();
        let list = (added > 0).then(|| Arc::new(list));
        let old = match principal {
            Principal::All => std::mem::replace(&mut self.all, list),
            Principal::ClientId(name) if name == EVERY_CLIENT => std::mem::replace(&mut self.every_client, list),
            Principal::Username(name) if name == EVERY_USER => std::mem::replace(&mut self.every_user, list),
            Principal::ClientId(name) => self.clients.put(name, list, hasher),
            Principal::Username(name) => self.users.put(name, list, hasher),
        };
        self.rules = self.rules + added - old.map_or(0, |old| old.rules().len());
    }

    /// The lists of a client, in order.
    fn lists<'a>(
        &'a self,
        client: &'a Client<'_>,
        hasher: &'a RandomState,
    ) -> impl Iterator<Item = (ListKind, &'a List)> {
        ListKind::ORDER.iter().filter_map(move |&kind| {
            let list = match kind {
                ListKind::ClientId => self.clients.find(client.client_id, hasher),
                ListKind::EveryClient => self.every_client.as_ref(),
                ListKind::Username => client.username().and_then(|name| self.users.find(name, hasher)),
                ListKind::EveryUser => client.username().and(self.every_user.as_ref()),
                ListKind::All => self.all.as_ref(),
            };
            Some((kind, &**list?))
        })
    }
}
