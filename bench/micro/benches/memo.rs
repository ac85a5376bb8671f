//! What it costs a publisher to be judged again, by the number of topics that it takes turns with.

#![allow(missing_docs, reason = "the macros of criterion make public functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pybroker_engine::access::Keeping;
use pybroker_engine::memo::{Memo, key_of};

const KEEPING: Keeping = Keeping {
    max_len: 32,
    ttl_ms: 60_000,
};

fn find(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("memo/find");
    for topics in [1_usize, 4, 32] {
        let names: Vec<String> = (0..topics)
            .map(|at| format!("plant/site-7/device-{at}/state"))
            .collect();
        let mut memo = Memo::default();
        for name in &names {
            memo.keep(name, key_of(0, false), true, 0, KEEPING);
        }
        let mut turn = 0;
        group.bench_function(BenchmarkId::from_parameter(topics), |bencher| {
            bencher.iter(|| {
                turn = (turn + 1) % topics;
                memo.find(black_box(&names[turn]), key_of(0, false), 1, KEEPING.ttl_ms)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, find);
criterion_main!(benches);
