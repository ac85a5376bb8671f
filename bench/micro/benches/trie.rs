//! What it costs to match one topic, by the number of subscriptions, and to subscribe.

#![allow(missing_docs, reason = "the macros of criterion make public functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pybroker_core::trie::{Matches, SubscriberId, SubscriptionOptions};
use pybroker_micro::{scattered_topics, topic, trie};

/// Topics of a cold walk: enough that their nodes do not stay in any cache of the processor.
const COLD_TOPICS: u32 = 200_000;

fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("trie");
    for subscriptions in [1_000, 10_000, 100_000, 1_000_000] {
        let trie = trie(subscriptions);
        let mut matches = Matches::default();
        let hot = topic(subscriptions / 2);
        group.bench_function(BenchmarkId::new("hot", subscriptions), |bencher| {
            bencher.iter(|| {
                trie.find(black_box(&hot), &mut matches);
                matches.direct.len()
            });
        });
        let cold = scattered_topics(COLD_TOPICS, subscriptions);
        let mut topics = cold.iter().cycle();
        group.bench_function(BenchmarkId::new("cold", subscriptions), |bencher| {
            bencher.iter(|| {
                if let Some(topic) = topics.next() {
                    trie.find(topic, &mut matches);
                }
                matches.direct.len()
            });
        });
    }
    group.finish();
}

fn subscribe(criterion: &mut Criterion) {
    let mut trie = trie(1_000_000);
    let filters = scattered_topics(COLD_TOPICS, 1_000_000);
    let mut filters = filters.iter().cycle();
    let id = SubscriberId(u32::MAX - 1);
    criterion.bench_function("trie/subscribe and unsubscribe at 1000000", |bencher| {
        bencher.iter(|| {
            let Some(filter) = filters.next() else { return };
            trie.subscribe(filter, None, id, SubscriptionOptions::default());
            trie.unsubscribe(filter, None, id);
        });
    });
}

criterion_group!(benches, find, subscribe);
criterion_main!(benches);
