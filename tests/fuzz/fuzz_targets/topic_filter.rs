//! A topic and a filter, as clients write them, through validation, matching and mounting.
#![no_main]

use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use pybroker_core::mountpoint;
use pybroker_core::retained::RetainedIndex;
use pybroker_core::topic::{self, FilterKind};
use pybroker_core::trie::{Matches, SubscriberId, SubscriptionOptions, Trie};

const MAX_LEVELS: usize = 128;
const MOUNTPOINT: &str = "tenant/";

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (name, raw) = text.split_once('\n').unwrap_or((text, text));
    let _ = topic::parse_delayed(name);
    let is_topic = topic::validate_topic(name, MAX_LEVELS).is_ok();
    let Ok(parsed) = topic::parse_filter(raw, MAX_LEVELS) else {
        return;
    };
    assert!(topic::validate_filter(parsed.filter, MAX_LEVELS).is_ok());
    check_mount(name, raw);
    if is_topic {
        let group = match parsed.kind {
            FilterKind::Share { group } => Some(group),
            _ => None,
        };
        check_match(name, parsed.filter, group);
    }
});

/// Mounting and unmounting give back what the client wrote.
fn check_mount(name: &str, raw: &str) {
    let (mut mounted, mut back) = (String::new(), String::new());
    mountpoint::mount(MOUNTPOINT, name, &mut mounted);
    assert_eq!(mountpoint::unmount(MOUNTPOINT, &mounted), name);
    mountpoint::mount_filter(MOUNTPOINT, raw, &mut mounted);
    mountpoint::unmount_filter(MOUNTPOINT, &mounted, &mut back);
    assert_eq!(back, raw);
}

/// The trie and the retained index agree with the plain comparison.
fn check_match(name: &str, filter: &str, group: Option<&str>) {
    let is_match = topic::matches(filter, name);
    let mut trie = Trie::new();
    let mut found = Matches::default();
    let options = SubscriptionOptions {
        qos: 1,
        ..SubscriptionOptions::default()
    };
    let added = trie.subscribe(filter, group, SubscriberId(7), options);
    trie.find(name, &mut found);
    assert_eq!(
        is_match,
        !found.direct.is_empty() || !found.shared.is_empty()
    );
    assert!(trie.remove(added.key, SubscriberId(7)));
    trie.find(name, &mut found);
    assert!(found.direct.is_empty() && found.shared.is_empty());

    let mut index = RetainedIndex::new();
    index.insert(name, ());
    let mut count = 0;
    let _ = index.matching(filter, &mut |_, ()| {
        count += 1;
        ControlFlow::Continue(())
    });
    assert_eq!(count, usize::from(is_match));
}
