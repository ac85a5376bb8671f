//! Properties of the access rules over random rule sets: the index, the partial swap and the trace against the plain
//! reading of one rule after the other, and the three readings of filters against all topics of a small world.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use pybroker_core::acl::{
    AccessRules, Action, Client, ClientField, ConditionSpec, ListKind, ListSpec, Outcome, Permission, Principal,
    Profile, RuleAction, RuleErrorCode, RuleSpec, Settings, SubscribeMatch, TextSpec, TopicsSpec, Verdict,
};
use pybroker_core::codec::QoS;
use pybroker_core::topic::{matches, validate_filter, validate_topic};

fn words(alphabet: &'static [&'static str], levels: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    vec(select(alphabet), levels).prop_map(|words| words.join("/"))
}

fn filter() -> impl Strategy<Value = String> {
    words(&["a", "b", "+", "#", "", "$s"], 1..5).prop_filter("a filter", |text| validate_filter(text, 128).is_ok())
}

fn name() -> impl Strategy<Value = String> {
    words(&["a", "b", "", "$s"], 1..5).prop_filter("a topic", |text| validate_topic(text, 128).is_ok())
}

fn rule_topic() -> impl Strategy<Value = String> {
    let template = words(&["a", "b", "+", "#", "${clientid}", "${username}", "${client_attrs.x}"], 1..5)
        .prop_filter("a filter", |text| validate_filter(text, 128).is_ok());
    prop_oneof![
        4 => filter(),
        2 => template,
        1 => filter().prop_map(|text| format!("eq {text}")),
    ]
}

fn rule() -> impl Strategy<Value = RuleSpec> {
    let topics = prop_oneof![
        8 => rule_topic().prop_map(|topic| TopicsSpec::These(vec![topic])),
        2 => vec(rule_topic(), 0..4).prop_map(TopicsSpec::These),
        1 => Just(TopicsSpec::Every),
    ];
    let condition = select(vec![
        None,
        None,
        Some(ConditionSpec::Text(ClientField::ClientId, TextSpec::Matches("^a".to_owned()))),
        Some(ConditionSpec::Text(ClientField::Username, TextSpec::Is("b".to_owned()))),
    ]);
    (
        topics,
        select(&[Permission::Allow, Permission::Deny][..]),
        select(&[RuleAction::Publish, RuleAction::Subscribe, RuleAction::All][..]),
        any::<[bool; 3]>(),
        option::of(any::<bool>()),
        condition,
    )
        .prop_map(|(topics, permission, action, qos, retain, condition)| RuleSpec {
            topics,
            permission,
            action,
            qos,
            retain,
            condition,
        })
}

fn settings() -> impl Strategy<Value = Settings> {
    (
        select(&[SubscribeMatch::Strict, SubscribeMatch::StrictOverlap, SubscribeMatch::Emqx][..]),
        select(&[Profile::Legacy, Profile::Hardened][..]),
    )
        .prop_map(|(subscribe_match, profile)| Settings { subscribe_match, profile, ..Settings::default() })
}

#[derive(Clone, Debug)]
struct Asked {
    client_id: String,
    username: Option<String>,
    attribute: Option<String>,
    action: Action,
    topic: String,
}

fn asked() -> impl Strategy<Value = Asked> {
    let qos = select(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][..]);
    let publish =
        (name(), qos.clone(), any::<bool>()).prop_map(|(topic, qos, retain)| (Action::Publish { qos, retain }, topic));
    let subscribe = (filter(), qos).prop_map(|(topic, qos)| (Action::Subscribe { qos }, topic));
    let value = || select(&["a", "b", "+", "b/a", ""][..]).prop_map(str::to_owned);
    let client_id = select(&["a", "b", "$s"][..]).prop_map(str::to_owned);
    (client_id, option::of(value()), option::of(value()), prop_oneof![publish, subscribe]).prop_map(
        |(client_id, username, attribute, (action, topic))| Asked { client_id, username, attribute, action, topic },
    )
}

impl Asked {
    fn put<T>(&self, ask: impl FnOnce(&Client<'_>) -> T) -> T {
        let attributes: Vec<_> = self.attribute.iter().map(|value| ("x".into(), value.as_str().into())).collect();
        ask(&Client {
            client_id: &self.client_id,
            username: self.username.as_deref(),
            attributes: &attributes,
            ..Client::default()
        })
    }

    fn check(&self, rules: &AccessRules) -> Verdict {
        self.put(|client| rules.check(client, self.action, &self.topic))
    }
}

fn list(principal: Principal, rules: Vec<RuleSpec>) -> ListSpec {
    ListSpec { namespace: None, principal, rules }
}

fn compile(settings: Settings, lists: Vec<ListSpec>) -> AccessRules {
    AccessRules::compile(settings, lists).expect("valid rules")
}

fn principal() -> impl Strategy<Value = Principal> {
    let name = || select(&["a", "b", "${clientid}", "${username}"][..]).prop_map(str::to_owned);
    prop_oneof![name().prop_map(Principal::ClientId), name().prop_map(Principal::Username), Just(Principal::All)]
}

fn lists() -> impl Strategy<Value = Vec<ListSpec>> {
    let namespace = option::of(Just("n".to_owned()));
    let one = (namespace, principal(), vec(rule(), 0..4));
    vec(one.prop_map(|(namespace, principal, rules)| ListSpec { namespace, principal, rules }), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_long_list_decides_as_its_rules_one_by_one(
        settings in settings(), rules in vec(rule(), 16..60), asked in vec(asked(), 1..20),
    ) {
        let whole = compile(settings, vec![list(Principal::All, rules.clone())]);
        let singles: Vec<_> =
            rules.into_iter().map(|rule| compile(settings, vec![list(Principal::All, vec![rule])])).collect();
        for asked in asked {
            let expected = singles.iter().zip(0_u32..).find_map(|(single, index)| match asked.check(single) {
                Verdict::Decided { permission, mut place } => {
                    place.rule = index;
                    Some(Verdict::Decided { permission, place })
                }
                Verdict::NoMatch => None,
            });
            prop_assert_eq!(asked.check(&whole), expected.unwrap_or(Verdict::NoMatch), "{:?}", asked);
        }
    }

    #[test]
    fn swapping_some_lists_is_compiling_what_is_then_there(
        settings in settings(), before in lists(), change in lists(), asked in vec(asked(), 1..20),
    ) {
        let swapped = compile(settings, before.clone()).replace(change.clone()).expect("valid rules");
        let whole = compile(settings, before.into_iter().chain(change).collect());
        prop_assert_eq!(swapped.rule_count(), whole.rule_count());
        for asked in asked {
            prop_assert_eq!(asked.check(&swapped), asked.check(&whole));
            let namespaced = |rules: &AccessRules| asked.put(|client| {
                rules.check(&Client { namespace: Some("n"), ..*client }, asked.action, &asked.topic)
            });
            prop_assert_eq!(namespaced(&swapped), namespaced(&whole));
        }
    }

    #[test]
    fn a_trace_decides_as_the_check_and_ends_where_it_ended(
        settings in settings(), lists in lists(), asked in vec(asked(), 1..10),
    ) {
        let rules = compile(settings, lists);
        for asked in asked {
            let verdict = asked.check(&rules);
            let trace = asked.put(|client| rules.explain(client, asked.action, &asked.topic, usize::MAX));
            prop_assert_eq!(trace.verdict, verdict);
            let decides = |outcome| matches!(outcome, Outcome::Matches | Outcome::Denies);
            let first = trace.entries.iter().find(|entry| decides(entry.outcome));
            match verdict {
                Verdict::NoMatch => prop_assert!(first.is_none()),
                Verdict::Decided { place, .. } => prop_assert_eq!(first.map(|entry| entry.place), Some(place)),
            }
            let end = trace.entries.iter().position(|entry| decides(entry.outcome)).unwrap_or(trace.entries.len());
            for (at, entry) in trace.entries.iter().enumerate() {
                let is_reached = at <= end && entry.outcome != Outcome::Superseded;
                prop_assert_eq!(entry.is_reached, is_reached);
            }
        }
    }

    #[test]
    fn readings_of_filters_hold_for_all_topics_of_a_small_world(filter in filter(), rule in filter()) {
        let both = |topic: &&String| matches(&filter, topic) && matches(&rule, topic);
        let world = world();
        let ask = |mode, permission| {
            let settings = Settings { subscribe_match: mode, ..Settings::default() };
            let spec = RuleSpec {
                topics: TopicsSpec::These(vec![rule.clone()]),
                permission,
                action: RuleAction::All,
                qos: [true; 3],
                retain: None,
                condition: None,
            };
            let rules = compile(settings, vec![list(Principal::All, vec![spec])]);
            let client = Client { client_id: "c", ..Client::default() };
            rules.check(&client, Action::Subscribe { qos: QoS::AtMostOnce }, &filter) != Verdict::NoMatch
        };
        let overlaps = ask(SubscribeMatch::StrictOverlap, Permission::Deny);
        prop_assert_eq!(overlaps, world.iter().any(|topic| both(&topic)), "overlap of {} and {}", filter, rule);
        let covers = world.iter().filter(|topic| matches(&filter, topic)).all(|topic| matches(&rule, topic));
        let contains = ask(SubscribeMatch::Strict, Permission::Allow);
        prop_assert!(!contains || covers, "{rule} was said to cover {filter}");
        prop_assert!(!contains || ask(SubscribeMatch::Emqx, Permission::Allow), "strict allows more: {filter} {rule}");
        prop_assert!(!ask(SubscribeMatch::Emqx, Permission::Deny) || overlaps, "emqx denies more: {filter} {rule}");
    }
}

/// Every topic of at most five levels from five words: one more level and one more word than the filters have. The empty
/// text is among them, which no client can send: `/#` and `+` count as overlapping because of it.
fn world() -> Vec<String> {
    let mut topics = vec![String::new()];
    let mut all = Vec::new();
    for depth in 0..5 {
        topics = topics
            .iter()
            .flat_map(|topic| {
                ["a", "b", "", "$s", "z"]
                    .map(|word| if depth == 0 { word.to_owned() } else { format!("{topic}/{word}") })
            })
            .collect();
        all.extend(topics.iter().cloned());
    }
    all
}

fn plain(topic: &str, permission: Permission) -> RuleSpec {
    RuleSpec {
        topics: TopicsSpec::These(vec![topic.to_owned()]),
        permission,
        action: RuleAction::All,
        qos: [true; 3],
        retain: None,
        condition: None,
    }
}

#[test]
fn a_trace_says_why_each_rule_did_not_match() {
    let with = |change: fn(&mut RuleSpec)| {
        let mut rule = plain("t", Permission::Deny);
        change(&mut rule);
        rule
    };
    let rules = vec![
        with(|rule| rule.action = RuleAction::Subscribe),
        with(|rule| rule.qos = [false, true, true]),
        with(|rule| rule.retain = Some(true)),
        plain("s", Permission::Deny),
        plain("${username}", Permission::Deny),
        plain("${client_attrs.x}", Permission::Deny),
        with(|rule| rule.condition = Some(ConditionSpec::Address(vec!["10.0.0.0/8".to_owned()]))),
        plain("t", Permission::Allow),
        plain("#", Permission::Deny),
        plain("t", Permission::Deny),
    ];
    let rules = compile(Settings::default(), vec![list(Principal::ClientId("c".to_owned()), rules)]);
    let attributes = [("x".into(), "+".into())];
    let client = Client { client_id: "c", attributes: &attributes, ..Client::default() };
    let action = Action::Publish { qos: QoS::AtMostOnce, retain: false };
    let trace = rules.explain(&client, action, "t", 100);
    let told: Vec<_> =
        trace.entries.iter().map(|entry| (entry.place.rule, entry.outcome.as_str(), entry.is_reached)).collect();
    assert_eq!(
        told,
        [
            (0, "action", true),
            (1, "qos", true),
            (2, "retain", true),
            (3, "topic", true),
            (4, "placeholder_absent", true),
            (5, "placeholder_forbidden", true),
            (6, "condition", true),
            (9, "matches", true),
            (8, "matches", false),
            (7, "superseded", false),
        ]
    );
    assert_eq!(trace.entries[4].placeholder.as_deref(), Some("username"));
    assert_eq!(trace.entries[5].placeholder.as_deref(), Some("client_attrs.x"));
    assert_eq!(trace.entries[9].superseded_by, Some(9));
    let Verdict::Decided { permission, place } = trace.verdict else { panic!("a rule decides") };
    assert_eq!((permission, place.list, place.rule), (Permission::Deny, ListKind::ClientId, 9));

    let short = rules.explain(&client, action, "t", 3);
    assert_eq!((short.entries.len(), short.left_out, short.verdict), (3, 7, trace.verdict));
}

#[test]
fn a_placeholder_without_value_is_told_where_it_denies() {
    let settings = Settings { profile: Profile::Hardened, ..Settings::default() };
    let rules = compile(settings, vec![list(Principal::All, vec![plain("u/${cert_common_name}", Permission::Allow)])]);
    let client = Client { client_id: "c", ..Client::default() };
    let trace = rules.explain(&client, Action::Subscribe { qos: QoS::AtMostOnce }, "u/x", 1);
    assert_eq!(trace.entries[0].outcome, Outcome::Denies);
    assert_eq!(trace.entries[0].placeholder.as_deref(), Some("cert_common_name"));
}

#[test]
fn every_outcome_has_its_own_name() {
    let mut names: Vec<_> = Outcome::NAMES.iter().map(|(outcome, _)| outcome.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Outcome::NAMES.len());
}

#[test]
fn faults_of_many_lists_are_told_in_order_up_to_a_limit() {
    let bad = |number: usize| list(Principal::ClientId(format!("c{number}")), vec![plain("a/#/b", Permission::Allow)]);
    let errors = AccessRules::compile(Settings::default(), (0..1_500).map(bad)).expect_err("none is valid");
    assert_eq!(errors.len(), 1_000);
    assert!(errors.iter().enumerate().all(|(number, error)| error.list == number && error.rule == Some(0)));
}

#[test]
fn names_have_limits() {
    let rules = || vec![plain("a", Permission::Allow)];
    let long = "x".repeat(65_536);
    let cases = [
        (list(Principal::ClientId(String::new()), rules()), "clientid"),
        (list(Principal::Username(long.clone()), rules()), "username"),
        (ListSpec { namespace: Some(long.clone()), principal: Principal::All, rules: rules() }, "ns"),
    ];
    for (list, field) in cases {
        let errors = AccessRules::compile(Settings::default(), [list]).expect_err(field);
        assert_eq!((errors[0].field, errors[0].rule, errors[0].code), (field, None, RuleErrorCode::InvalidValue));
        assert!(errors[0].message.len() < 300);
    }
    for topic in [long.clone(), format!("eq {long}")] {
        let lists = [list(Principal::All, vec![plain(&topic, Permission::Allow)])];
        let errors = AccessRules::compile(Settings::default(), lists).expect_err("too long");
        assert_eq!(errors[0].code, RuleErrorCode::InvalidTopic);
    }
}

#[test]
fn a_failed_swap_leaves_the_rules_as_they_are() {
    let rules = compile(Settings::default(), vec![list(Principal::All, vec![plain("a", Permission::Deny)])]);
    let change = [list(Principal::All, vec![]), list(Principal::All, vec![plain("a+", Permission::Allow)])];
    assert!(rules.replace(change).is_err());
    let client = Client { client_id: "c", ..Client::default() };
    let verdict = rules.check(&client, Action::Subscribe { qos: QoS::AtMostOnce }, "a");
    assert!(matches!(verdict, Verdict::Decided { permission: Permission::Deny, .. }));
    let emptied = rules.replace([list(Principal::All, vec![])]).expect("valid");
    assert_eq!((rules.rule_count(), emptied.rule_count()), (1, 0));
}

#[test]
fn deep_topics_and_deep_rules_are_judged() {
    let deep = format!("{}b", "a/".repeat(30_000));
    let mut rules: Vec<_> = (0..40).map(|number| plain(&format!("x{number}"), Permission::Allow)).collect();
    rules.push(plain(&deep, Permission::Deny));
    rules.push(plain(&format!("{}+", "a/".repeat(30_000)), Permission::Allow));
    let rules = compile(Settings::default(), vec![list(Principal::All, rules)]);
    let client = Client { client_id: "c", ..Client::default() };
    let action = Action::Publish { qos: QoS::AtMostOnce, retain: false };
    let decided = |topic: &str| match rules.check(&client, action, topic) {
        Verdict::Decided { place, .. } => Some(place.rule),
        Verdict::NoMatch => None,
    };
    assert_eq!(decided(&deep), Some(40));
    assert_eq!(decided(&format!("{}c", "a/".repeat(30_000))), Some(41));
    assert_eq!(decided("a/a"), None);
}

#[test]
fn a_text_too_long_to_be_searched_neither_allows_nor_escapes_a_denial() {
    let searched = |permission| {
        let mut rule = plain("t", permission);
        let pattern = TextSpec::Matches("x".to_owned());
        rule.condition = Some(ConditionSpec::Every(vec![ConditionSpec::Text(ClientField::ClientId, pattern)]));
        compile(Settings::default(), vec![list(Principal::All, vec![rule])])
    };
    let action = Action::Subscribe { qos: QoS::AtMostOnce };
    for (bytes, word, allows, denies) in
        [(4_096, "x", true, true), (4_096, "y", false, false), (4_097, "y", false, true)]
    {
        let client_id = word.repeat(bytes);
        let client = Client { client_id: &client_id, ..Client::default() };
        let decides = |permission| searched(permission).check(&client, action, "t") != Verdict::NoMatch;
        assert_eq!((decides(Permission::Allow), decides(Permission::Deny)), (allows, denies), "{bytes} times {word}");
    }
}
