//! Topics, filters and mountpoints: the shared vectors, and properties over random texts.
//!
//! The vectors in `tests/vectors` are the reference for other readers too; the matcher here is written another way than
//! the one under test, so that both are unlikely to be wrong alike.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::select;
use pybroker_core::mountpoint::{
    MountpointError, hidden_from, mount, mount_filter, mount_publish, unmount, unmount_filter, validate_mountpoint,
};
use pybroker_core::topic::{
    Delay, FilterKind, TopicError, begins_with_wildcard, matches, parse_delayed, parse_filter, validate_filter,
    validate_topic,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

const MAX_LEVELS: usize = 128;

#[derive(Deserialize)]
struct Vectors<T> {
    case: Vec<T>,
}

fn cases<T: DeserializeOwned>(file: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(file);
    let text = std::fs::read_to_string(&path).expect("vector file is readable");
    let vectors: Vectors<T> = toml::from_str(&text).expect("vector file has the expected fields");
    assert!(!vectors.case.is_empty(), "{file} holds cases");
    vectors.case
}

fn name_of(error: TopicError) -> &'static str {
    match error {
        TopicError::Empty => "empty",
        TopicError::TooLong { .. } => "too_long",
        TopicError::TooManyLevels { .. } => "too_many_levels",
        TopicError::Nul { .. } => "nul",
        TopicError::Wildcard { .. } => "wildcard",
        TopicError::ShareName => "share_name",
        TopicError::NestedPrefix => "nested_prefix",
        TopicError::Delay => "delay",
    }
}

#[derive(Deserialize)]
struct NameCase {
    topic: String,
    levels: Option<usize>,
    error: Option<String>,
}

#[test]
fn topic_names_are_judged_as_the_vectors_say() {
    for case in cases::<NameCase>("topics/names.toml") {
        let result = validate_topic(&case.topic, MAX_LEVELS);
        assert_eq!(result.ok(), case.levels, "{:?}", case.topic);
        assert_eq!(result.err().map(name_of), case.error.as_deref(), "{:?}", case.topic);
    }
}

#[derive(Deserialize)]
struct FilterCase {
    raw: String,
    kind: Option<String>,
    group: Option<String>,
    filter: Option<String>,
    levels: Option<usize>,
    error: Option<String>,
}

#[test]
fn filters_are_taken_apart_as_the_vectors_say() {
    for case in cases::<FilterCase>("topics/filters.toml") {
        let result = parse_filter(&case.raw, MAX_LEVELS);
        assert_eq!(result.err().map(name_of), case.error.as_deref(), "{:?}", case.raw);
        let Ok(parsed) = result else { continue };
        let (kind, group) = match parsed.kind {
            FilterKind::Plain => ("plain", None),
            FilterKind::Share { group } => ("share", Some(group)),
            FilterKind::Exclusive => ("exclusive", None),
        };
        assert_eq!((Some(kind), group), (case.kind.as_deref(), case.group.as_deref()), "{:?}", case.raw);
        assert_eq!(Some(parsed.filter), case.filter.as_deref());
        assert_eq!(validate_filter(parsed.filter, MAX_LEVELS).ok(), case.levels);
    }
}

#[derive(Deserialize)]
struct MatchCase {
    filter: String,
    matches: Vec<String>,
    misses: Vec<String>,
}

#[test]
fn filters_match_as_the_vectors_say() {
    for case in cases::<MatchCase>("topics/matches.toml") {
        validate_filter(&case.filter, MAX_LEVELS).expect("a vector's filter is valid");
        let hits = case.matches.iter().map(|topic| (topic, true));
        for (topic, expected) in hits.chain(case.misses.iter().map(|topic| (topic, false))) {
            validate_topic(topic, MAX_LEVELS).expect("a vector's topic is valid");
            assert_eq!(matches(&case.filter, topic), expected, "{:?} {topic:?}", case.filter);
        }
    }
}

#[derive(Deserialize)]
struct DelayCase {
    topic: String,
    after_s: Option<u64>,
    at_unix_s: Option<u64>,
    inner: Option<String>,
    #[serde(default)]
    plain: bool,
    error: Option<String>,
}

#[test]
fn delays_are_parsed_as_the_vectors_say() {
    for case in cases::<DelayCase>("topics/delayed.toml") {
        let result = parse_delayed(&case.topic);
        assert_eq!(result.err().map(name_of), case.error.as_deref(), "{:?}", case.topic);
        let after = case.after_s.map(|seconds| Delay::After { seconds });
        let delay = after.or(case.at_unix_s.map(|unix_s| Delay::At { unix_s }));
        if case.error.is_none() {
            assert_eq!(result, Ok(delay.zip(case.inner.as_deref())), "{:?}", case.topic);
            assert_eq!(delay.is_none(), case.plain);
        }
    }
}

#[derive(Deserialize)]
struct MountpointCase {
    mountpoint: String,
    error: Option<String>,
}

#[test]
fn mountpoints_are_judged_as_the_vectors_say() {
    for case in cases::<MountpointCase>("mountpoint/texts.toml") {
        let error = validate_mountpoint(&case.mountpoint).err().map(|error| match error {
            MountpointError::Wildcard { .. } => "wildcard",
            MountpointError::Control { .. } => "control",
            MountpointError::Dollar => "dollar",
        });
        assert_eq!(error, case.error.as_deref(), "{:?}", case.mountpoint);
    }
}

#[derive(Deserialize)]
struct MountedCase {
    mountpoint: String,
    publish: Option<String>,
    filter: Option<String>,
    mounted: String,
}

#[test]
fn topics_and_filters_are_mounted_as_the_vectors_say() {
    let mut out = String::new();
    for case in cases::<MountedCase>("mountpoint/mounted.toml") {
        if let Some(topic) = &case.publish {
            mount_publish(&case.mountpoint, topic, &mut out);
            assert_eq!(out, case.mounted);
        }
        if let Some(filter) = &case.filter {
            mount_filter(&case.mountpoint, filter, &mut out);
            assert_eq!(out, case.mounted);
            unmount_filter(&case.mountpoint, &case.mounted, &mut out);
            assert_eq!(&out, filter);
        }
        assert_ne!(case.publish.is_some(), case.filter.is_some());
    }
}

#[test]
fn a_topic_from_outside_is_not_shortened() {
    for topic in ["n2/a", "n1", "a/n1/b", "$SYS/x"] {
        assert_eq!(unmount("n1/", topic), topic);
    }
}

/// The rules of section 4.7 once more, by cases over the lists of levels.
fn matches_by_the_book(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, topic @ ..]) => matches_by_the_book(filter, topic),
        ([level, filter @ ..], [there, topic @ ..]) => level == there && matches_by_the_book(filter, topic),
        _ => false,
    }
}

fn levels_of(text: &str) -> Vec<&str> {
    text.split('/').collect()
}

fn topic_text() -> impl Strategy<Value = String> {
    let level = select(vec!["", "a", "b", "ab", "$a", "$SYS", "n1", "ü"]);
    let text = prop::collection::vec(level, 1..6).prop_map(|levels| levels.join("/"));
    text.prop_filter("not empty", |topic| !topic.is_empty())
}

fn filter_text() -> impl Strategy<Value = String> {
    let level = select(vec!["", "a", "b", "ab", "$a", "$SYS", "n1", "ü", "+", "+"]);
    let text = (prop::collection::vec(level, 0..6), any::<bool>()).prop_map(|(mut levels, ends_open)| {
        if ends_open {
            levels.push("#");
        }
        levels.join("/")
    });
    text.prop_filter("not empty", |filter| !filter.is_empty())
}

fn raw_filter_text() -> impl Strategy<Value = String> {
    let prefix = select(vec!["", "", "$share/g/", "$share/n1/", "$queue/", "$exclusive/"]);
    (prefix, filter_text()).prop_map(|(prefix, filter)| format!("{prefix}{filter}"))
}

fn mountpoint_text() -> impl Strategy<Value = String> {
    select(vec!["", "n1/", "n1", "a/", "a", "/", "a/b/", "ü/$x/"]).prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

    #[test]
    fn a_filter_matches_by_the_rules_of_the_book(filter in filter_text(), topic in topic_text()) {
        prop_assert!(validate_filter(&filter, MAX_LEVELS).is_ok());
        let is_hidden = topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#'));
        let expected = !is_hidden && matches_by_the_book(&levels_of(&filter), &levels_of(&topic));
        prop_assert_eq!(matches(&filter, &topic), expected);
    }

    #[test]
    fn any_text_is_judged_without_a_panic(text in "[a/+#$\\x00ü]{0,12}|\\PC{0,40}", max_levels in 0_usize..6) {
        let levels = text.split('/').count();
        let has_wildcard = text.contains(['+', '#']);
        let is_plain = !text.is_empty() && !text.contains('\0') && levels <= max_levels;
        prop_assert_eq!(validate_topic(&text, max_levels).ok(), (is_plain && !has_wildcard).then_some(levels));
        let is_misplaced = |(at, level): (usize, &str)| match level {
            "#" => at + 1 != levels,
            "+" => false,
            _ => level.contains(['+', '#']),
        };
        let is_filter = is_plain && !text.split('/').enumerate().any(is_misplaced);
        prop_assert_eq!(validate_filter(&text, max_levels).ok(), is_filter.then_some(levels));
        let _ = parse_filter(&text, max_levels);
        let _ = parse_delayed(&format!("$delayed/{text}"));
        let _ = validate_mountpoint(&text);
        let mut out = String::new();
        mount_filter("n1/", &text, &mut out);
        mount_publish("n1/", &text, &mut out);
        unmount_filter("n1/", &text, &mut out);
    }

    #[test]
    fn mount_then_unmount_is_identity(
        mountpoint in mountpoint_text(),
        topic in topic_text(),
        raw in raw_filter_text(),
    ) {
        let (mut mounted, mut back) = (String::new(), String::new());
        mount(&mountpoint, &topic, &mut mounted);
        prop_assert_eq!(unmount(&mountpoint, &mounted), topic.as_str());

        mount_filter(&mountpoint, &raw, &mut mounted);
        unmount_filter(&mountpoint, &mounted, &mut back);
        prop_assert_eq!(&back, &raw);
    }

    #[test]
    fn a_mounted_filter_keeps_its_kind_and_group(mountpoint in mountpoint_text(), raw in raw_filter_text()) {
        let mut mounted = String::new();
        mount_filter(&mountpoint, &raw, &mut mounted);
        let inside = parse_filter(&raw, MAX_LEVELS);
        // A mountpoint without a slash makes one level of its end and a wildcard, which is no filter any more.
        if let (Ok(inside), Ok(outside)) = (inside, parse_filter(&mounted, MAX_LEVELS)) {
            prop_assert_eq!(inside.kind, outside.kind);
            prop_assert_eq!(format!("{mountpoint}{}", inside.filter), outside.filter);
        } else {
            prop_assert!(inside.is_err() || !mountpoint.ends_with('/'));
        }
    }

    #[test]
    fn a_mounted_client_sees_what_it_would_see_alone(
        mountpoint in select(vec!["n1/", "a/", "/", "a/b/"]),
        filter in filter_text(),
        topic in topic_text(),
    ) {
        let (mut mounted_filter, mut mounted_topic) = (String::new(), String::new());
        mount(mountpoint, &filter, &mut mounted_filter);
        mount(mountpoint, &topic, &mut mounted_topic);
        let is_hidden = begins_with_wildcard(&filter) && hidden_from(mountpoint, &mounted_topic);
        let sees = matches(&mounted_filter, &mounted_topic) && !is_hidden;
        prop_assert_eq!(sees, matches(&filter, &topic));
    }

    #[test]
    fn a_mounted_filter_stays_inside_its_namespace(filter in filter_text(), topic in topic_text()) {
        let mut mounted = String::new();
        mount("n1/", &filter, &mut mounted);
        if matches(&mounted, &topic) {
            prop_assert!(topic.starts_with("n1/") || topic == "n1", "{} reaches {}", mounted, topic);
        }
    }
}
