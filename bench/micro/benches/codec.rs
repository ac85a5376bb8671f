//! What it costs to read and write one packet.

#![allow(missing_docs, reason = "the macros of criterion make public functions")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pybroker_core::codec::{Decoder, Packet, PublishOut, QoS, Role, Version, encode_publish};

const LIMIT: u32 = 1 << 20;
const PAYLOAD: [u8; 64] = [b'x'; 64];
/// Content type `application/json`, and one user property.
const PROPERTIES: &[u8] = b"\x03\x00\x10application/json\x26\x00\x06device\x00\x09sensor-17";

fn publish(qos: QoS, forwardable: &[u8]) -> PublishOut<'_> {
    PublishOut {
        qos,
        topic: "plant/site-17/device-3/state",
        packet_id: 7,
        forwardable,
        payload: &PAYLOAD,
        ..PublishOut::default()
    }
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(100));
    let kinds = [
        (
            "publish 3.1.1 qos 0",
            Version::V311,
            publish(QoS::AtMostOnce, &[]),
        ),
        (
            "publish 5.0 qos 1",
            Version::V5,
            publish(QoS::AtLeastOnce, &[]),
        ),
        (
            "publish 5.0 qos 1 with properties",
            Version::V5,
            publish(QoS::AtLeastOnce, PROPERTIES),
        ),
    ];
    for (name, version, message) in kinds {
        let mut input = Vec::new();
        (0..100).for_each(|_| encode_publish(&mut input, version, &message));
        group.bench_function(name, |bencher| {
            let mut decoder = Decoder::with_version(Role::Server, version, LIMIT);
            bencher.iter(|| decode_all(&mut decoder, black_box(&input)));
        });
    }
    let acks = [0x40, 2, 0, 7].repeat(100);
    group.bench_function("puback 3.1.1", |bencher| {
        let mut decoder = Decoder::with_version(Role::Server, Version::V311, LIMIT);
        bencher.iter(|| decode_all(&mut decoder, black_box(&acks)));
    });
    group.finish();
}

/// Decodes every packet of `input` and returns the sum of the payload bytes.
fn decode_all(decoder: &mut Decoder, mut input: &[u8]) -> usize {
    let mut payload_bytes = 0;
    while let Ok(Some((packet, used))) = decoder.decode(input) {
        if let Packet::Publish(publish) = packet {
            payload_bytes += publish.payload.len();
        }
        input = &input[used..];
    }
    assert!(input.is_empty());
    payload_bytes
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for (name, version, forwardable) in [
        ("publish 3.1.1", Version::V311, &[][..]),
        ("publish 5.0 with properties", Version::V5, PROPERTIES),
    ] {
        let message = publish(QoS::AtLeastOnce, forwardable);
        let mut out = Vec::with_capacity(4096);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                out.clear();
                encode_publish(&mut out, version, black_box(&message));
                black_box(out.len())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
