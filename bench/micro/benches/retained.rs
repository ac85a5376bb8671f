//! What it costs to find retained topics by filter.

#![allow(missing_docs, reason = "the macros of criterion make public functions")]

use std::hint::black_box;
use std::ops::ControlFlow;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pybroker_core::retained::RetainedIndex;
use pybroker_micro::topic;

fn matching(criterion: &mut Criterion) {
    let mut index = RetainedIndex::new();
    for number in 0..100_000 {
        index.insert(&topic(number), number);
    }
    let mut group = criterion.benchmark_group("retained");
    for (filter, found) in [
        ("plant/site-17/device-3/state", 1),
        ("plant/site-17/#", 1_000),
        ("plant/+/device-3/state", 100),
        ("#", 100_000),
    ] {
        group.throughput(Throughput::Elements(found));
        group.bench_function(filter, |bencher| {
            bencher.iter(|| {
                let mut count = 0;
                let _ = index.matching(black_box(filter), &mut |_, _| {
                    count += 1;
                    ControlFlow::Continue(())
                });
                assert_eq!(count, found);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, matching);
criterion_main!(benches);
