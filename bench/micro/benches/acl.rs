//! What it costs to compile access rules, to swap one list and to check, by the number of rules.

#![allow(missing_docs, reason = "the macros of criterion make public functions")]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use pybroker_core::acl::{
    AccessRules, Action, Client, ListSpec, Permission, Principal, RuleAction, RuleSpec, Settings,
    TopicsSpec,
};
use pybroker_core::codec::QoS;

const PUBLISH: Action = Action::Publish {
    qos: QoS::AtMostOnce,
    retain: false,
};

/// Clients of a cold check: enough that their rules do not stay in any cache of the processor.
const COLD_CLIENTS: u32 = 100_000;

fn rule(topic: String) -> RuleSpec {
    RuleSpec {
        topics: TopicsSpec::These(vec![topic]),
        permission: Permission::Allow,
        action: RuleAction::All,
        qos: [true; 3],
        retain: None,
        condition: None,
    }
}

fn list(principal: Principal, rules: Vec<RuleSpec>) -> ListSpec {
    ListSpec {
        namespace: None,
        principal,
        rules,
    }
}

/// Half of the rules belong to client ids, half to user names; each principal has `per_list` of them.
fn own_lists(rules: u32, per_list: u32) -> Vec<ListSpec> {
    let one = |number: u32| {
        let topics = (0..per_list).map(|at| match at % 3 {
            0 => format!("plant/site-{}/device-{number}/state/{at}", number % 100),
            1 => format!("plant/site-{}/device-{number}/+/{at}", number % 100),
            _ => format!("plant/${{clientid}}/{at}/#"),
        });
        let principal = if number.is_multiple_of(2) {
            Principal::ClientId(format!("device-{number}"))
        } else {
            Principal::Username(format!("user-{number}"))
        };
        list(principal, topics.map(rule).collect())
    };
    (0..rules / per_list).map(one).collect()
}

/// Rules for all users: one in ten with a placeholder first, the others by site.
fn all_rules(count: u32) -> ListSpec {
    let topics = (0..count).map(|number| match number % 10 {
        9 => format!("${{clientid}}/{number}/#"),
        5..9 => format!("plant/site-{number}/+/state"),
        _ => format!("plant/site-{number}/line/state"),
    });
    list(Principal::All, topics.map(rule).collect())
}

fn compiled(lists: Vec<ListSpec>) -> AccessRules {
    AccessRules::compile(Settings::default(), lists).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn build(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("acl/compile");
    group.sample_size(10);
    for (rules, per_list) in [(100_000, 1), (100_000, 100)] {
        let name = BenchmarkId::new(format!("{per_list} a principal"), rules);
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || own_lists(rules, per_list),
                compiled,
                BatchSize::LargeInput,
            );
        });
    }
    let whole = compiled(own_lists(100_000, 1));
    group.bench_function("swap one list of 100000", |bencher| {
        bencher.iter_batched(
            || {
                list(
                    Principal::ClientId("device-4".to_owned()),
                    vec![rule("a/b".to_owned())],
                )
            },
            |list| whole.replace([list]),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Clients in an order that no hardware guesses, each with a topic.
fn askers(rules: u32) -> Vec<(String, String, String)> {
    let asker = |number: u32| {
        let topic = format!("plant/site-{}/device-{number}/state/0", number % 100);
        (format!("device-{number}"), format!("user-{number}"), topic)
    };
    (0..COLD_CLIENTS)
        .map(|number| asker(number.wrapping_mul(2_654_435_761) % rules))
        .collect()
}

fn check(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("acl/check");
    for (name, all) in [
        ("no all-users rules", 0),
        ("1000 all-users rules", 1_000),
        ("10000 all-users rules", 10_000),
    ] {
        let mut lists = own_lists(100_000, 1);
        lists.push(all_rules(all));
        let rules = compiled(lists);
        for (kind, suffix) in [("first", ""), ("none", "/none")] {
            let mut askers = askers(100_000);
            for asker in &mut askers {
                asker.2.push_str(suffix);
            }
            let mut askers = askers.iter().cycle();
            group.bench_function(
                BenchmarkId::new(format!("cold, {name}, {kind} matches"), 100_000),
                |bencher| {
                    bencher.iter(|| {
                        let (client_id, username, topic) = askers.next()?;
                        let client = Client {
                            client_id,
                            username: Some(username),
                            ..Client::default()
                        };
                        Some(rules.check(&client, PUBLISH, topic))
                    });
                },
            );
        }
        let last = format!("plant/site-{}/line/state", all.max(10) - 6);
        group.bench_function(
            BenchmarkId::new(format!("hot, {name}, last matches"), 100_000),
            |bencher| {
                let client = Client {
                    client_id: "stranger",
                    username: Some("stranger"),
                    ..Client::default()
                };
                bencher.iter(|| rules.check(&client, PUBLISH, black_box(&last)));
            },
        );
    }
    group.finish();
}

fn own(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("acl/own");
    for per_list in [1, 4, 6, 7, 8, 12, 16, 32, 100] {
        let rules = compiled(own_lists(100 * per_list, per_list));
        let client = Client {
            client_id: "device-4",
            ..Client::default()
        };
        group.bench_function(BenchmarkId::new("none matches", per_list), |bencher| {
            bencher.iter(|| {
                rules.check(
                    &client,
                    PUBLISH,
                    black_box("plant/site-4/device-4/state/none"),
                )
            });
        });
    }
    group.finish();
}

criterion_group!(benches, build, check, own);
criterion_main!(benches);
