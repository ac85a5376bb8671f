//! Rules written as Python values, read into what the core compiles. Unknown keys and wrong types are errors.

use pybroker_core::acl::{
    ClientField, ConditionSpec, ListSpec, Permission, Principal, Profile, RuleAction, RuleSpec, Settings,
    SubscribeMatch, TemplateAllow, TextSpec, TopicsSpec,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::error::key_error;

/// How deep clauses may stand inside each other here; the core refuses fewer with a better error.
const MAX_DEPTH: usize = 64;

/// How rules are compiled and read.
///
/// # Errors
/// `ValueError` for an unknown word.
pub fn settings(
    subscribe_match: &str,
    profile_name: &str,
    template_allow: &[String],
    allows_partial_placeholders: bool,
) -> PyResult<Settings> {
    let subscribe_match = self::subscribe_match(subscribe_match)?;
    let mut allow = TemplateAllow::default();
    for name in template_allow {
        match name.as_str() {
            "plus" => allow.plus = true,
            "hash" => allow.hash = true,
            "slash" => allow.slash = true,
            _ => return Err(key_error("template_allow", &format!("plus, hash or slash: {name:?}"))),
        }
    }
    let profile = profile(profile_name)?;
    Ok(Settings { subscribe_match, profile, template_allow: allow, allows_partial_placeholders })
}

/// A reading of SUBSCRIBE filters by its name.
///
/// # Errors
/// `ValueError` for an unknown word.
pub fn subscribe_match(name: &str) -> PyResult<SubscribeMatch> {
    match name {
        "strict" => Ok(SubscribeMatch::Strict),
        "strict_overlap" => Ok(SubscribeMatch::StrictOverlap),
        "emqx" => Ok(SubscribeMatch::Emqx),
        _ => Err(key_error("subscribe_match", &format!("strict, strict_overlap or emqx: {name:?}"))),
    }
}

/// One list: `(namespace | None, "clientid" | "username" | "all", name, [rule, ...])`.
///
/// # Errors
/// `ValueError` that names the key, `TypeError` for another shape.
pub fn list(list: &Bound<'_, PyAny>) -> PyResult<ListSpec> {
    let (namespace, kind, name, rules): (Option<String>, String, String, Vec<Bound<'_, PyAny>>) = list.extract()?;
    let principal = match kind.as_str() {
        "clientid" => Principal::ClientId(name),
        "username" => Principal::Username(name),
        "all" => Principal::All,
        _ => return Err(key_error("kind", &format!("clientid, username or all: {kind:?}"))),
    };
    let rules = rules.iter().map(rule).collect::<PyResult<_>>()?;
    Ok(ListSpec { namespace, principal, rules })
}

fn rule(value: &Bound<'_, PyAny>) -> PyResult<RuleSpec> {
    let mut topics = None;
    let mut permission = None;
    let mut action = None;
    let mut qos = [true; 3];
    let mut retain = None;
    let mut conditions = Vec::new();
    for (key, value) in dict("rule", value)?.iter() {
        match word("key", &key)? {
            "topic" => topics = Some(TopicsSpec::These(vec![read("topic", &value)?])),
            "topics" => topics = Some(many_topics(&value)?),
            "permission" => permission = Some(permission_of(&value)?),
            "action" => action = Some(action_of(&value)?),
            "qos" => qos = levels(&value)?,
            "retain" => retain = retain_of(&value)?,
            "who" => conditions.push(who(&value, 0)?),
            key => conditions.push(simple_condition(key, &value)?),
        }
    }
    let missing = |key| key_error(key, "given");
    Ok(RuleSpec {
        topics: topics.ok_or_else(|| missing("topic"))?,
        permission: permission.ok_or_else(|| missing("permission"))?,
        action: action.ok_or_else(|| missing("action"))?,
        qos,
        retain,
        condition: if conditions.len() > 1 { Some(ConditionSpec::Every(conditions)) } else { conditions.pop() },
    })
}

fn read<'a, 'py, T: for<'b> FromPyObject<'b, 'py>>(key: &str, value: &'a Bound<'py, PyAny>) -> PyResult<T> {
    value.extract::<T>().map_err(|_| key_error(key, &format!("of another type: {value}")))
}

fn dict<'a, 'py>(key: &str, value: &'a Bound<'py, PyAny>) -> PyResult<&'a Bound<'py, PyDict>> {
    value.cast::<PyDict>().map_err(|_| key_error(key, &format!("a dictionary: {value}")))
}

fn word<'a>(key: &str, value: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    match value.cast::<PyString>() {
        Ok(text) => text.to_str(),
        Err(_) => Err(key_error(key, &format!("a text: {value}"))),
    }
}

fn many_topics(value: &Bound<'_, PyAny>) -> PyResult<TopicsSpec> {
    match value.cast::<PyString>() {
        Ok(text) if text.to_str()? == "all" => Ok(TopicsSpec::Every),
        Ok(text) => Err(key_error("topics", &format!("a list of topics, or 'all': {text:?}"))),
        Err(_) => read("topics", value).map(TopicsSpec::These),
    }
}

fn permission_of(value: &Bound<'_, PyAny>) -> PyResult<Permission> {
    match word("permission", value)? {
        "allow" => Ok(Permission::Allow),
        "deny" => Ok(Permission::Deny),
        other => Err(key_error("permission", &format!("allow or deny: {other:?}"))),
    }
}

fn action_of(value: &Bound<'_, PyAny>) -> PyResult<RuleAction> {
    match word("action", value)? {
        "publish" => Ok(RuleAction::Publish),
        "subscribe" => Ok(RuleAction::Subscribe),
        "all" => Ok(RuleAction::All),
        other => Err(key_error("action", &format!("publish, subscribe or all: {other:?}"))),
    }
}

fn levels(value: &Bound<'_, PyAny>) -> PyResult<[bool; 3]> {
    let mut qos = [false; 3];
    let levels: Vec<usize> = read("qos", value)?;
    for level in levels {
        let Some(is_meant) = qos.get_mut(level) else {
            return Err(key_error("qos", &format!("a list of 0, 1 and 2: {level}")));
        };
        *is_meant = true;
    }
    Ok(qos)
}

fn retain_of(value: &Bound<'_, PyAny>) -> PyResult<Option<bool>> {
    match value.cast::<PyString>() {
        Ok(text) if text.to_str()? == "all" => Ok(None),
        _ => read("retain", value).map(Some),
    }
}

fn profile(name: &str) -> PyResult<Profile> {
    match name {
        "legacy" => Ok(Profile::Legacy),
        "hardened" => Ok(Profile::Hardened),
        _ => Err(key_error("profile", &format!("legacy or hardened: {name:?}"))),
    }
}

/// A condition by its field; with `_re` behind it an expression is meant.
fn simple_condition(key: &str, value: &Bound<'_, PyAny>) -> PyResult<ConditionSpec> {
    let (name, is_expression) = key.strip_suffix("_re").map_or((key, false), |name| (name, true));
    let field = match name {
        "ipaddr" if !is_expression => {
            let networks = if value.is_instance_of::<PyString>() { vec![read(key, value)?] } else { read(key, value)? };
            return Ok(ConditionSpec::Address(networks));
        }
        "clientid" => ClientField::ClientId,
        "username" => ClientField::Username,
        "zone" => ClientField::Zone,
        "listener" => ClientField::Listener,
        _ => return Err(key_error(key, "a known field of a rule")),
    };
    let text = read(key, value)?;
    Ok(ConditionSpec::Text(field, if is_expression { TextSpec::Matches(text) } else { TextSpec::Is(text) }))
}

/// A clause of a file rule: a dictionary with one key.
fn who(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<ConditionSpec> {
    let clause = dict("who", value)?;
    let mut items = clause.iter();
    let (Some((key, value)), None) = (items.next(), items.next()) else {
        return Err(key_error("who", "a dictionary with one key"));
    };
    let each = || {
        if depth == MAX_DEPTH {
            return Err(key_error("who", &format!("at most {MAX_DEPTH} deep")));
        }
        let clauses: Vec<Bound<'_, PyAny>> = read("who", &value)?;
        clauses.iter().map(|clause| who(clause, depth + 1)).collect::<PyResult<_>>()
    };
    match word("who", &key)? {
        "and" => each().map(ConditionSpec::Every),
        "or" => each().map(ConditionSpec::Some),
        "profile" => profile(word("profile", &value)?).map(ConditionSpec::Profile),
        "client_attr" => attribute(dict("client_attr", &value)?),
        key => simple_condition(key, &value),
    }
}

/// `{"name": ..., "is": ...}` or `{"name": ..., "re": ...}`.
fn attribute(clause: &Bound<'_, PyDict>) -> PyResult<ConditionSpec> {
    let wrong = || key_error("client_attr", "a name with either is or re");
    let get = |key| -> PyResult<Option<String>> {
        clause.get_item(key)?.map(|value| read("client_attr", &value)).transpose()
    };
    let text = match (get("is")?, get("re")?) {
        (Some(text), None) => TextSpec::Is(text),
        (None, Some(pattern)) => TextSpec::Matches(pattern),
        _ => return Err(wrong()),
    };
    match get("name")? {
        Some(name) if clause.len() == 2 => Ok(ConditionSpec::Text(ClientField::Attribute(name), text)),
        _ => Err(wrong()),
    }
}
