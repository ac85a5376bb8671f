//! The access rules against the shared cases of `tests/vectors/acl`.

use std::net::IpAddr;
use std::path::Path;

use pybroker_core::acl::{
    AccessRules, Action, Client, ClientField, ConditionSpec, ListSpec, Permission, Principal, Profile, RuleAction,
    RuleSpec, Settings, SubscribeMatch, TemplateAllow, TextSpec, TopicsSpec, Verdict, judged_topic,
};
use pybroker_core::codec::QoS;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

#[derive(Deserialize)]
struct Vectors<T> {
    case: Vec<T>,
}

fn cases<T: DeserializeOwned>(file: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/acl").join(file);
    let text = std::fs::read_to_string(&path).expect("vector file is readable");
    let vectors: Vectors<T> = toml::from_str(&text).expect("vector file has the expected fields");
    assert!(!vectors.case.is_empty(), "{file} holds cases");
    vectors.case
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn permission(name: &str) -> Permission {
    match name {
        "allow" => Permission::Allow,
        "deny" => Permission::Deny,
        _ => panic!("no permission: {name}"),
    }
}

fn profile(name: &str) -> Profile {
    match name {
        "legacy" => Profile::Legacy,
        "hardened" => Profile::Hardened,
        _ => panic!("no profile: {name}"),
    }
}

fn who(table: &Table) -> ConditionSpec {
    let (key, value) = table.iter().next().expect("one key");
    let each = || value.as_array().expect("a list").iter().map(|item| who(item.as_table().expect("a table")));
    match key.as_str() {
        "and" => ConditionSpec::Every(each().collect()),
        "or" => ConditionSpec::Some(each().collect()),
        "profile" => ConditionSpec::Profile(profile(&text(value))),
        "client_attr" => {
            let name = ClientField::Attribute(text(&value["name"]));
            let wanted = match value.get("re") {
                Some(pattern) => TextSpec::Matches(text(pattern)),
                None => TextSpec::Is(text(&value["is"])),
            };
            ConditionSpec::Text(name, wanted)
        }
        _ => condition(key, value).expect("a condition"),
    }
}

fn condition(key: &str, value: &Value) -> Option<ConditionSpec> {
    let (name, is_pattern) = key.strip_suffix("_re").map_or((key, false), |name| (name, true));
    let field = match name {
        "ipaddr" => {
            let many = value.as_array().map(|texts| texts.iter().map(text).collect());
            return Some(ConditionSpec::Address(many.unwrap_or_else(|| vec![text(value)])));
        }
        "clientid" => ClientField::ClientId,
        "username" => ClientField::Username,
        "zone" => ClientField::Zone,
        "listener" => ClientField::Listener,
        _ => return None,
    };
    let wanted = text(value);
    Some(ConditionSpec::Text(field, if is_pattern { TextSpec::Matches(wanted) } else { TextSpec::Is(wanted) }))
}

fn rule(table: &Table) -> RuleSpec {
    let mut conditions = Vec::new();
    let mut spec = RuleSpec {
        topics: TopicsSpec::These(Vec::new()),
        permission: Permission::Allow,
        action: RuleAction::All,
        qos: [true; 3],
        retain: None,
        condition: None,
    };
    for (key, value) in table {
        match key.as_str() {
            "topic" => spec.topics = TopicsSpec::These(vec![text(value)]),
            "topics" if value.as_str() == Some("all") => spec.topics = TopicsSpec::Every,
            "topics" => {
                spec.topics = TopicsSpec::These(value.as_array().expect("topics").iter().map(text).collect());
            }
            "permission" => spec.permission = permission(&text(value)),
            "action" => {
                spec.action = match text(value).as_str() {
                    "publish" => RuleAction::Publish,
                    "subscribe" => RuleAction::Subscribe,
                    "all" => RuleAction::All,
                    other => panic!("no action: {other}"),
                };
            }
            "qos" => {
                spec.qos = [false; 3];
                for level in value.as_array().expect("levels") {
                    let level = usize::try_from(level.as_integer().expect("a number")).expect("a QoS");
                    spec.qos[level] = true;
                }
            }
            "retain" => spec.retain = value.as_bool(),
            "who" => conditions.push(who(value.as_table().expect("a table"))),
            _ => conditions.push(condition(key, value).expect("a known field")),
        }
    }
    spec.condition = match conditions.len() {
        0 => None,
        1 => conditions.pop(),
        _ => Some(ConditionSpec::Every(conditions)),
    };
    spec
}

fn list(table: &Table) -> ListSpec {
    let named = |key: &str| table.get(key).map(text);
    let principal = named("clientid").map(Principal::ClientId).or(named("username").map(Principal::Username));
    ListSpec {
        namespace: named("ns"),
        principal: principal.unwrap_or(Principal::All),
        rules: table["rules"]
            .as_array()
            .expect("rules")
            .iter()
            .map(|value| rule(value.as_table().expect("rule")))
            .collect(),
    }
}

fn settings(table: &Table) -> Settings {
    let mut settings = Settings::default();
    for (key, value) in table {
        match key.as_str() {
            "subscribe_match" => {
                settings.subscribe_match = match text(value).as_str() {
                    "strict" => SubscribeMatch::Strict,
                    "strict_overlap" => SubscribeMatch::StrictOverlap,
                    "emqx" => SubscribeMatch::Emqx,
                    other => panic!("no mode: {other}"),
                };
            }
            "profile" => settings.profile = profile(&text(value)),
            "template_allow" => {
                let names: Vec<_> = value.as_array().expect("names").iter().map(text).collect();
                let has = |name: &str| names.iter().any(|one| one == name);
                settings.template_allow = TemplateAllow { plus: has("plus"), hash: has("hash"), slash: has("slash") };
            }
            "allows_partial_placeholders" => settings.allows_partial_placeholders = value.as_bool().expect("a flag"),
            other => panic!("no setting: {other}"),
        }
    }
    settings
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecisionCase {
    name: String,
    #[serde(default)]
    settings: Table,
    #[serde(default)]
    client: Table,
    lists: Vec<Table>,
    check: Vec<Table>,
}

/// The answer to one check, as the vectors write it: decision, list and index.
fn answer(rules: &AccessRules, check: &Table) -> (&'static str, Option<(&'static str, u32)>) {
    let field = |key: &str| check.get(key).map(text);
    let (client_id, username) = (field("clientid"), field("username"));
    let (namespace, zone, listener) = (field("ns"), field("zone"), field("listener"));
    let peer: Option<IpAddr> = field("peerhost").map(|address| address.parse().expect("an address"));
    let attributes: Vec<(Box<str>, Box<str>)> = check
        .get("attributes")
        .and_then(Value::as_table)
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.as_str().into(), text(value).into()))
        .collect();
    let client = Client {
        client_id: client_id.as_deref().unwrap_or("c1"),
        username: Some(username.as_deref().unwrap_or("u1")),
        peer_ip: peer,
        namespace: namespace.as_deref(),
        zone: zone.as_deref().unwrap_or("default"),
        listener: listener.as_deref().unwrap_or("tcp:default"),
        cert_common_name: None,
        attributes: &attributes,
    };
    let level = check.get("qos").and_then(Value::as_integer).unwrap_or(0);
    let qos = QoS::try_from(u8::try_from(level).expect("a QoS")).expect("a QoS");
    let (action, raw) = match (field("publish"), field("subscribe")) {
        (Some(topic), None) => {
            let retain = check.get("retain").and_then(Value::as_bool).unwrap_or(false);
            (Action::Publish { qos, retain }, topic)
        }
        (None, Some(filter)) => (Action::Subscribe { qos }, filter),
        _ => panic!("publish or subscribe"),
    };
    let mountpoint = field("mountpoint").unwrap_or_default();
    let mut scratch = String::new();
    let Some(topic) = judged_topic(action, &raw, &mountpoint, &mut scratch) else { return ("deny", None) };
    match rules.check(&client, action, topic) {
        Verdict::NoMatch => ("nomatch", None),
        Verdict::Decided { permission, place } => {
            let word = if permission == Permission::Allow { "allow" } else { "deny" };
            (word, Some((place.list.as_str(), place.rule)))
        }
    }
}

#[test]
fn rule_sets_decide_as_the_vectors_say() {
    for case in cases::<DecisionCase>("decisions.toml") {
        let rules = AccessRules::compile(settings(&case.settings), case.lists.iter().map(list))
            .unwrap_or_else(|errors| panic!("{}: {errors:?}", case.name));
        for check in &case.check {
            let mut whole = case.client.clone();
            whole.extend(check.clone());
            let by = check.get("by").and_then(Value::as_array).map(|by| (text(&by[0]), by[1].as_integer()));
            let (decision, place) = answer(&rules, &whole);
            let place = place.map(|(list, rule)| (list.to_owned(), Some(i64::from(rule))));
            assert_eq!((decision, place), (check["decision"].as_str().unwrap(), by), "{}: {check:?}", case.name);
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterCase {
    filter: String,
    rule: String,
    words: bool,
    contains: bool,
    overlaps: bool,
}

/// Whether one rule with this permission and topic decides.
fn decides(
    mode: SubscribeMatch,
    word: Permission,
    topic: &str,
    client: &Client<'_>,
    action: Action,
    asked: &str,
) -> bool {
    let settings = Settings { subscribe_match: mode, ..Settings::default() };
    let rules = vec![RuleSpec {
        topics: TopicsSpec::These(vec![topic.to_owned()]),
        permission: word,
        action: RuleAction::All,
        qos: [true; 3],
        retain: None,
        condition: None,
    }];
    let lists = [ListSpec { namespace: None, principal: Principal::All, rules }];
    let rules = AccessRules::compile(settings, lists).expect("a valid rule");
    rules.check(client, action, asked) != Verdict::NoMatch
}

#[test]
fn filters_are_held_against_a_rule_as_the_vectors_say() {
    use Permission::{Allow, Deny};
    use SubscribeMatch::{Emqx, Strict, StrictOverlap};
    let client = Client { client_id: "c1", ..Client::default() };
    for case in cases::<FilterCase>("filters.toml") {
        let action = Action::Subscribe { qos: QoS::AtMostOnce };
        for (mode, word, expected) in [
            (Emqx, Allow, case.words),
            (Emqx, Deny, case.words),
            (Strict, Allow, case.contains),
            (Strict, Deny, case.words),
            (StrictOverlap, Allow, case.contains),
            (StrictOverlap, Deny, case.overlaps),
        ] {
            let found = decides(mode, word, &case.rule, &client, action, &case.filter);
            assert_eq!(found, expected, "{mode:?} {word:?} {} against {}", case.filter, case.rule);
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicCase {
    topic: String,
    rule: String,
    matches: bool,
}

#[test]
fn topics_are_held_against_a_rule_as_the_vectors_say_in_every_mode() {
    let attributes = [("site".into(), "north".into()), ("empty".into(), "".into())];
    let client = Client {
        client_id: "c1",
        username: Some("u1"),
        zone: "z1",
        cert_common_name: Some("cn"),
        attributes: &attributes,
        ..Client::default()
    };
    for case in cases::<TopicCase>("topics.toml") {
        let action = Action::Publish { qos: QoS::AtMostOnce, retain: false };
        for mode in [SubscribeMatch::Emqx, SubscribeMatch::Strict, SubscribeMatch::StrictOverlap] {
            for word in [Permission::Allow, Permission::Deny] {
                let found = decides(mode, word, &case.rule, &client, action, &case.topic);
                assert_eq!(found, case.matches, "{mode:?} {word:?} {} against {}", case.topic, case.rule);
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JudgedCase {
    action: String,
    raw: String,
    #[serde(default)]
    mountpoint: String,
    judged: Value,
}

#[test]
fn rules_see_what_the_vectors_say() {
    for case in cases::<JudgedCase>("judged.toml") {
        let qos = QoS::AtMostOnce;
        let action = match case.action.as_str() {
            "publish" => Action::Publish { qos, retain: false },
            _ => Action::Subscribe { qos },
        };
        let mut scratch = "left over".to_owned();
        let judged = judged_topic(action, &case.raw, &case.mountpoint, &mut scratch);
        assert_eq!(judged, case.judged.as_str(), "{} {}", case.action, case.raw);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorCase {
    name: String,
    rule: Table,
    field: String,
    code: String,
}

#[test]
fn what_does_not_compile_is_told_with_its_place() {
    let good = || toml::from_str::<Table>("topic = 'a'\npermission = 'allow'\naction = 'all'").expect("a table");
    for case in cases::<ErrorCase>("errors.toml") {
        let mut bad = good();
        bad.extend(case.rule);
        let lists = [
            ListSpec { namespace: None, principal: Principal::All, rules: vec![rule(&good())] },
            ListSpec {
                namespace: None,
                principal: Principal::ClientId("c".to_owned()),
                rules: vec![rule(&good()), rule(&bad)],
            },
        ];
        let errors = AccessRules::compile(Settings::default(), lists).expect_err(&case.name);
        assert_eq!(errors.len(), 1, "{}: {errors:?}", case.name);
        let error = &errors[0];
        assert_eq!((error.list, error.rule), (1, Some(1)), "{}", case.name);
        assert_eq!((error.field, error.code.as_str()), (case.field.as_str(), case.code.as_str()), "{}", case.name);
        assert!(error.to_string().starts_with("list 1, rule 1, "), "{error}");
    }
}
