//! What it costs a shard to ask its match cache, by the number of topics in turn, and to keep a new answer.

#![allow(missing_docs, reason = "the macros of criterion make public functions")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pybroker_engine::cache::{Generations, MatchCache, Targets};
use pybroker_micro::scattered_topics;

/// The bucket of every topic here: they share their first level.
const BUCKET: u8 = 7;

fn filled(topics: &[String], generations: &Generations) -> MatchCache {
    let mut cache = MatchCache::default();
    for topic in topics {
        let generation = generations.of(BUCKET);
        cache.insert(
            None,
            topic,
            BUCKET,
            generation,
            Arc::new(Targets::default()),
        );
    }
    cache
}

fn get(criterion: &mut Criterion) {
    let generations = Generations::default();
    let mut group = criterion.benchmark_group("cache/get");
    for count in [1, 100, 10_000] {
        let topics = scattered_topics(count, 1_000_000);
        let mut cache = filled(&topics, &generations);
        let mut turn = topics.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                let found = turn
                    .next()
                    .and_then(|topic| cache.get(None, black_box(topic), &generations));
                assert!(found.is_some());
            });
        });
    }
    group.finish();
}

fn insert(criterion: &mut Criterion) {
    let generations = Generations::default();
    let topics = scattered_topics(200_000, 1_000_000);
    let mut cache = MatchCache::default();
    let mut turn = topics.iter().cycle();
    criterion.bench_function("cache/miss and insert", |bencher| {
        bencher.iter(|| {
            let Some(topic) = turn.next() else { return };
            if cache.get(None, topic, &generations).is_none() {
                let generation = generations.of(BUCKET);
                cache.insert(
                    None,
                    topic,
                    BUCKET,
                    generation,
                    Arc::new(Targets::default()),
                );
            }
        });
    });
}

criterion_group!(benches, get, insert);
criterion_main!(benches);
