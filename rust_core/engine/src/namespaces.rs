//! All namespaces by name: those that an operator configured, and those that live as long as something belongs to them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Weak};

use parking_lot::RwLock;

use crate::events::Event;
use crate::mailbox::Mailbox;
use crate::namespace::{Namespace, NamespaceLimits};

struct Entry {
    current: Weak<Namespace>,
    /// Keeps a configured one alive.
    configured: Option<Arc<Namespace>>,
}

/// The namespaces of an engine.
pub struct Namespaces {
    known: RwLock<BTreeMap<Arc<str>, Entry>>,
    unlimited: Arc<NamespaceLimits>,
    events: Arc<Mailbox<Event>>,
}

impl Namespaces {
    /// None yet; crossings of quotas go to `events`.
    #[must_use]
    pub fn new(events: Arc<Mailbox<Event>>) -> Self {
        Self { known: RwLock::default(), unlimited: Arc::default(), events }
    }

    /// The namespace of a name, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Namespace>> {
        self.known.read().get(name).and_then(|entry| entry.current.upgrade())
    }

    /// The namespace of a name, made if there is none; `None` for the empty name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<Arc<Namespace>> {
        if name.is_empty() {
            return None;
        }
        self.get(name).or_else(|| Some(self.made(name, false)))
    }

    fn made(&self, name: &str, is_configured: bool) -> Arc<Namespace> {
        let mut known = self.known.write();
        let current = known.get(name).and_then(|entry| entry.current.upgrade());
        let namespace = current.unwrap_or_else(|| {
            if known.len() >= 1024 && known.len().is_power_of_two() {
                known.retain(|_, entry| entry.current.strong_count() > 0);
            }
            Arc::new(Namespace::new(name.into(), Arc::clone(&self.unlimited), Arc::clone(&self.events)))
        });
        let entry = known
            .entry(Arc::clone(&namespace.name))
            .or_insert_with(|| Entry { current: Weak::new(), configured: None });
        entry.current = Arc::downgrade(&namespace);
        if is_configured {
            entry.configured = Some(Arc::clone(&namespace));
        }
        namespace
    }

    /// Configures a namespace; it stays until [`Namespaces::drop`], also without clients.
    pub fn configure(&self, name: &str, limits: NamespaceLimits, is_counted: bool, now_ms: u64) {
        let namespace = self.made(name, true);
        namespace.set_counted(is_counted);
        namespace.set_limits(limits, now_ms);
    }

    /// Deletes a namespace: for clients that are still there no limits and no counters, and nothing of them is kept.
    /// Whoever comes by its name from then on is in another one. False: there was none.
    pub fn drop(&self, name: &str, now_ms: u64) -> bool {
        let entry = self.known.write().remove(name);
        let Some(namespace) = entry.and_then(|entry| entry.configured.or_else(|| entry.current.upgrade())) else {
            return false;
        };
        namespace.close();
        namespace.replace_limits(Arc::clone(&self.unlimited), now_ms);
        namespace.set_counted(false);
        true
    }

    /// Up to `limit` namespaces in the order of their names' bytes, from behind `after` on, and whether more follow.
    #[must_use]
    pub fn page(&self, after: &str, limit: usize) -> (Vec<Arc<Namespace>>, bool) {
        let known = self.known.read();
        let behind = known.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        let mut live = behind.filter_map(|(_, entry)| entry.current.upgrade());
        let page = live.by_ref().take(limit).collect();
        (page, live.next().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespaces() -> Result<Namespaces, std::io::Error> {
        Ok(Namespaces::new(Arc::new(Mailbox::new()?)))
    }

    fn names(page: &[Arc<Namespace>]) -> Vec<&str> {
        page.iter().map(|namespace| &*namespace.name).collect()
    }

    #[test]
    fn an_implicit_namespace_lives_as_long_as_it_is_used() -> Result<(), std::io::Error> {
        let namespaces = namespaces()?;
        let used = namespaces.of("a");
        assert!(used.is_some() && namespaces.get("a").is_some());
        drop(used);
        assert!(namespaces.get("a").is_none() && namespaces.of("").is_none());
        Ok(())
    }

    #[test]
    fn a_configured_namespace_stays_until_it_is_dropped() -> Result<(), std::io::Error> {
        let namespaces = namespaces()?;
        namespaces.configure("a", NamespaceLimits::default(), true, 0);
        assert!(namespaces.get("a").is_some_and(|namespace| namespace.is_counted()));
        assert!(namespaces.drop("a", 0) && !namespaces.drop("a", 0));
        assert!(namespaces.get("a").is_none());
        Ok(())
    }

    #[test]
    fn whoever_comes_by_the_name_of_a_deleted_namespace_is_in_another_one() -> Result<(), std::io::Error> {
        let namespaces = namespaces()?;
        let former = namespaces.of("a");
        assert!(namespaces.drop("a", 0));
        let new = namespaces.of("a");
        assert!(former.is_some_and(|former| former.is_closed()) && new.is_some_and(|new| !new.is_closed()));
        Ok(())
    }

    #[test]
    fn pages_go_by_name_and_say_whether_more_follow() -> Result<(), std::io::Error> {
        let namespaces = namespaces()?;
        for name in ["b", "a", "c"] {
            namespaces.configure(name, NamespaceLimits::default(), false, 0);
        }
        let (page, has_more) = namespaces.page("", 2);
        assert_eq!((names(&page), has_more), (vec!["a", "b"], true));
        let (page, has_more) = namespaces.page("b", 2);
        assert_eq!((names(&page), has_more), (vec!["c"], false));
        Ok(())
    }
}
