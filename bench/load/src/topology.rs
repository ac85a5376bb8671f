//! Who publishes what and who subscribes to what in runs with steady traffic.

use crate::settings::{Mode, Settings, Shape};

/// One publisher and the topics that it walks through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherPlan {
    pub topics: Vec<String>,
}

/// One subscriber, its filters, and the publishers that it hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriberPlan {
    pub filters: Vec<String>,
    /// First publisher and how many of them.
    pub publishers: (usize, usize),
}

/// The traffic of a run.
#[derive(Clone, Debug)]
pub struct Topology {
    pub publishers: Vec<PublisherPlan>,
    pub subscribers: Vec<SubscriberPlan>,
    /// Subscribers that do not read before everything is published.
    pub slow: Vec<SubscriberPlan>,
    /// Deliveries that follow from one publish, slow subscribers left out.
    pub fan: usize,
}

impl Topology {
    /// Lays out the traffic of a mode with steady traffic.
    pub fn new(settings: &Settings) -> Self {
        let shape = settings.traffic_shape().unwrap_or(Shape::Pairs);
        let (count, prefix) = (settings.publishers, settings.prefix.as_str());
        let each = settings.filters.div_ceil(count);
        let is_match = settings.mode == Mode::Match;
        let publishers = (0..count).map(|p| PublisherPlan {
            topics: if is_match {
                spread_topics(prefix, p, each, settings.topics)
            } else {
                vec![topic(prefix, p)]
            },
        });
        let subscribers = (0..settings.subscribers).map(|s| match shape {
            Shape::Pairs if is_match => wildcard_subscriber(prefix, s, each),
            _ => plain_subscriber(prefix, shape, s, count),
        });
        let slow = (0..settings.slow).map(|s| plain_subscriber(prefix, shape, s % count, count));
        Self {
            publishers: publishers.collect(),
            subscribers: subscribers.collect(),
            slow: slow.collect(),
            fan: if shape == Shape::Fanout {
                settings.subscribers
            } else {
                1
            },
        }
    }
}

fn topic(prefix: &str, publisher: usize) -> String {
    format!("{prefix}/site/{publisher}/value")
}

/// A subscriber with one filter that hears one publisher, or all of them in a fan-in.
fn plain_subscriber(
    prefix: &str,
    shape: Shape,
    number: usize,
    publishers: usize,
) -> SubscriberPlan {
    let (filter, publishers) = match shape {
        Shape::Fanin => (format!("{prefix}/site/+/value"), (0, publishers)),
        Shape::Fanout => (topic(prefix, 0), (0, 1)),
        Shape::Pairs => (topic(prefix, number), (number, 1)),
    };
    SubscriberPlan {
        filters: vec![filter],
        publishers,
    }
}

/// Filters of one subscriber: three places of the wildcard in turn, so that every level of a trie has to branch.
fn wildcard_subscriber(prefix: &str, pair: usize, filters: usize) -> SubscriberPlan {
    let filter = |k: usize| match k % 3 {
        0 => format!("{prefix}/{pair}/+/{k}"),
        1 => format!("{prefix}/+/{pair}/{k}"),
        _ => format!("{prefix}/{pair}/{k}/#"),
    };
    SubscriberPlan {
        filters: (0..filters).map(filter).collect(),
        publishers: (pair, 1),
    }
}

/// Topics that match exactly one filter of `wildcard_subscriber` each, spread evenly over them.
fn spread_topics(prefix: &str, pair: usize, filters: usize, topics: usize) -> Vec<String> {
    let count = topics.clamp(1, filters);
    let topic = |step: usize| {
        let k = step * filters / count;
        match k % 3 {
            0 => format!("{prefix}/{pair}/x/{k}"),
            1 => format!("{prefix}/x/{pair}/{k}"),
            _ => format!("{prefix}/{pair}/{k}/leaf"),
        }
    };
    (0..count).map(topic).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn topology(arguments: &[&str]) -> Topology {
        Topology::new(&Settings::parse_from(
            [&["pybroker-load", "--prefix", "x9"], arguments].concat(),
        ))
    }

    fn is_match(filter: &str, topic: &str) -> bool {
        let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
        loop {
            match (filter.next(), topic.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }

    #[test]
    fn every_topic_of_a_match_run_matches_one_filter_of_its_own_subscriber() {
        let arguments = [
            "match",
            "--publishers",
            "3",
            "--subscribers",
            "3",
            "--filters",
            "90",
            "--topics",
            "20",
        ];
        let topology = topology(&arguments);
        for (p, publisher) in topology.publishers.iter().enumerate() {
            assert_eq!(publisher.topics.len(), 20);
            for topic in &publisher.topics {
                for (s, subscriber) in topology.subscribers.iter().enumerate() {
                    let hits = subscriber
                        .filters
                        .iter()
                        .filter(|filter| is_match(filter, topic))
                        .count();
                    assert_eq!(hits, usize::from(s == p), "{topic}");
                }
            }
        }
    }

    #[test]
    fn fans_count_deliveries_per_publish() {
        assert_eq!(
            topology(&["fanout", "--subscribers", "50", "--slow", "2"]).fan,
            50
        );
        assert_eq!(topology(&["fanout", "--slow", "2"]).slow.len(), 2);
        assert_eq!(
            topology(&["fanin", "--publishers", "50"]).subscribers[0].publishers,
            (0, 50)
        );
    }
}
