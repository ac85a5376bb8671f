//! Chains that are out of force, kept until no shard holds them: freeing 100,000 rules takes longer than a message may.
//!
//! A shard that takes up a new chain must not be the last to hold the old one, nor may Python's thread. One thread frees
//! what is kept here, and ends when there is nothing left.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::access::AccessChain;

/// Chains with fewer rules are freed by whoever drops them last; it takes microseconds.
const MANY_RULES: usize = 1_000;
const PAUSE: Duration = Duration::from_millis(100);
/// A shard without any connection may sleep on an old chain; it is not waited for longer than this.
const MAX_PAUSES: u32 = 300;

/// The chains that are kept, and for how many pauses already.
#[derive(Default)]
pub struct Retirement {
    kept: Mutex<Vec<(Arc<AccessChain>, u32)>>,
}

impl Retirement {
    /// Keeps a chain that was in force until nobody else holds its rules.
    pub fn keep(self: &Arc<Self>, chain: Arc<AccessChain>) {
        if chain.rule_count() < MANY_RULES {
            return;
        }
        let is_first = {
            let mut kept = self.kept.lock();
            kept.push((chain, 0));
            kept.len() == 1
        };
        if is_first {
            let own = Arc::clone(self);
            // Without a thread the chain is freed with the next one that is kept.
            let _ = std::thread::Builder::new().name("old-rules".to_owned()).spawn(move || own.work());
        }
    }

    fn work(&self) {
        loop {
            std::thread::sleep(PAUSE);
            let mut kept = self.kept.lock();
            let (freed, rest) = kept
                .drain(..)
                .partition::<Vec<_>, _>(|(chain, pauses)| chain.is_held_by_one() || *pauses >= MAX_PAUSES);
            *kept = rest.into_iter().map(|(chain, pauses)| (chain, pauses + 1)).collect();
            let is_over = kept.is_empty();
            drop(kept);
            drop(freed);
            if is_over {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use pybroker_core::acl::{
        AccessRules, ListSpec, Permission, Principal, RuleAction, RuleSpec, Settings, TopicsSpec,
    };

    use super::*;
    use crate::access::{AccessPolicy, Step};

    fn many_rules() -> Arc<AccessRules> {
        let rule = RuleSpec {
            topics: TopicsSpec::These(vec!["a".to_owned()]),
            permission: Permission::Allow,
            action: RuleAction::All,
            qos: [true; 3],
            retain: None,
            condition: None,
        };
        let lists = (0..MANY_RULES).map(|number| ListSpec {
            namespace: None,
            principal: Principal::ClientId(number.to_string()),
            rules: vec![rule.clone()],
        });
        Arc::new(AccessRules::compile(Settings::default(), lists).expect("the rules are valid"))
    }

    #[test]
    fn rules_live_until_the_last_other_holder_has_gone_and_no_longer() {
        let rules = many_rules();
        let watched = Arc::downgrade(&rules);
        let step = Step { name: "built_in_database".into(), rules: Some(rules), counters: Arc::default() };
        let in_force = Arc::new(AccessChain::new(vec![step], AccessPolicy::default()));
        let shard = AccessChain::clone(&in_force);
        let retirement = Arc::new(Retirement::default());
        retirement.keep(in_force);
        std::thread::sleep(2 * PAUSE);
        drop(shard);
        assert!(watched.upgrade().is_some(), "the shard was the last holder");
        let deadline = Instant::now() + Duration::from_secs(20);
        while watched.upgrade().is_some() {
            assert!(Instant::now() < deadline, "the rules are never freed");
            std::thread::sleep(PAUSE / 10);
        }
    }
}
