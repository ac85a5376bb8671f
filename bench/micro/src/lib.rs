//! Subscriptions and topics that the benchmarks of the core share. Nothing here is measured.

use pybroker_core::trie::{SubscriberId, SubscriptionOptions, Trie};

/// Devices of one site.
const DEVICES: u32 = 1_000;

/// The topic of device number `number`: four levels, 1,000 devices a site.
#[must_use]
pub fn topic(number: u32) -> String {
    format!(
        "plant/site-{}/device-{}/state",
        number / DEVICES,
        number % DEVICES
    )
}

/// The subscription of device number `number`: every second one has a wildcard.
#[must_use]
pub fn filter(number: u32) -> String {
    match number % 4 {
        1 => format!(
            "plant/site-{}/device-{}/+",
            number / DEVICES,
            number % DEVICES
        ),
        3 => format!(
            "plant/site-{}/device-{}/#",
            number / DEVICES,
            number % DEVICES
        ),
        _ => topic(number),
    }
}

/// A trie with `count` subscriptions, each of its own subscriber; every topic of theirs matches exactly one.
#[must_use]
pub fn trie(count: u32) -> Trie {
    let mut trie = Trie::new();
    for number in 0..count {
        trie.subscribe(
            &filter(number),
            None,
            SubscriberId(number),
            SubscriptionOptions::default(),
        );
    }
    trie
}

/// `count` topics out of `0..subscriptions` in an order that no hardware guesses.
#[must_use]
pub fn scattered_topics(count: u32, subscriptions: u32) -> Vec<String> {
    let step = |number: u32| number.wrapping_mul(2_654_435_761) % subscriptions;
    (0..count).map(|number| topic(step(number))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pybroker_core::trie::Matches;

    #[test]
    fn every_topic_matches_exactly_its_own_subscription() {
        let (trie, mut matches) = (trie(2_000), Matches::default());
        for number in 0..2_000 {
            trie.find(&topic(number), &mut matches);
            assert_eq!(
                matches
                    .direct
                    .iter()
                    .map(|(id, _)| id.0)
                    .collect::<Vec<_>>(),
                [number]
            );
        }
    }

    #[test]
    fn scattered_topics_are_topics_of_the_trie() {
        let all: std::collections::HashSet<_> = (0..500).map(topic).collect();
        assert!(
            scattered_topics(100, 500)
                .iter()
                .all(|topic| all.contains(topic))
        );
    }
}
