//! Conditions on the client that go with a rule: texts, regular expressions, addresses, and/or.
//!
//! Expressions run in linear time. Compiled conditions are compared by what was written, so that equal rules are found.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use regex::{Regex, RegexBuilder};

use super::request::Client;
use super::spec::{ClientField, ConditionSpec, Fault, Profile, RuleErrorCode, TextSpec};

/// Compiled size of an expression. `\w` needs about 50 kB because it knows all of Unicode.
const MAX_REGEX_BYTES: usize = 256 * 1024;

/// Longest text that is searched: time grows with text times expression, and a search cannot be interrupted.
const MAX_SEARCHED_BYTES: usize = 4_096;

/// How deep `and` and `or` may stand inside each other; no rule of a person comes near, and recursion stays bounded.
const MAX_DEPTH: usize = 16;

#[derive(Clone, Debug)]
pub(crate) struct Expression(Regex);

impl Expression {
    fn compile(pattern: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(pattern).size_limit(MAX_REGEX_BYTES).build();
        built.map(Self).map_err(|error| {
            // The crate draws the pattern with a mark below the fault and says on the last line what it is.
            let text = error.to_string();
            let reason = text.lines().next_back().unwrap_or_default();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            format!("expression is not valid, {reason}: {pattern:?}")
        })
    }
}

/// Expressions by pattern, so that one of many rules is compiled once.
#[derive(Default)]
pub(crate) struct Expressions(HashMap<String, Expression>);

impl Expressions {
    fn compile(&mut self, pattern: &str) -> Result<Expression, String> {
        if let Some(known) = self.0.get(pattern) {
            return Ok(known.clone());
        }
        let expression = Expression::compile(pattern)?;
        self.0.insert(pattern.to_owned(), expression.clone());
        Ok(expression)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Expression {}

impl Hash for Expression {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_str().hash(state);
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum TextTest {
    Is(Box<str>),
    Matches(Expression),
}

impl TextTest {
    fn holds(&self, text: &str, if_too_long: bool) -> bool {
        match self {
            Self::Is(wanted) => **wanted == *text,
            Self::Matches(_) if text.len() > MAX_SEARCHED_BYTES => if_too_long,
            Self::Matches(expression) => expression.0.is_match(text),
        }
    }
}

/// An address range in canonical form: host bits are zero, IPv4 inside IPv6 is IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Network {
    bits: u128,
    mask: u128,
    is_v4: bool,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let given: IpAddr = address.parse().ok()?;
        let given_width: u32 = if given.is_ipv4() { 32 } else { 128 };
        let given_prefix = match prefix {
            None => given_width,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
            Some(_) => return None,
        };
        if given_prefix > given_width {
            return None;
        }
        let (bits, is_v4) = canonical(given);
        let width = if is_v4 { 32 } else { 128 };
        // A network of IPv4 inside IPv6 counts its first 96 bits too; a shorter prefix reaches beyond IPv4.
        let (bits, width, prefix, is_v4) = match given_prefix.checked_sub(given_width - width) {
            Some(prefix) => (bits, width, prefix, is_v4),
            None => (wide(given), 128, given_prefix, false),
        };
        let mask = if prefix == 0 { 0 } else { u128::MAX << (width - prefix) };
        Some(Self { bits: bits & mask, mask, is_v4 })
    }

    fn contains(&self, address: IpAddr) -> bool {
        let (bits, is_v4) = canonical(address);
        if self.is_v4 == is_v4 { bits & self.mask == self.bits } else { false }
    }
}

fn canonical(address: IpAddr) -> (u128, bool) {
    match address.to_canonical() {
        IpAddr::V4(address) => (u128::from(address.to_bits()), true),
        IpAddr::V6(address) => (address.to_bits(), false),
    }
}

fn wide(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// What must hold of a client.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Condition {
    Text(ClientField, TextTest),
    Address(Box<[Network]>),
    Profile(Profile),
    Every(Box<[Condition]>),
    Some(Box<[Condition]>),
}

impl Condition {
    /// Compiles what was written.
    ///
    /// # Errors
    /// A fault that names the field, for an expression or an address that is not valid, or nesting beyond 16.
    pub(crate) fn compile(spec: &ConditionSpec, expressions: &mut Expressions) -> Result<Self, Fault> {
        Self::compile_at(spec, expressions, 0)
    }

    fn compile_at(spec: &ConditionSpec, expressions: &mut Expressions, depth: usize) -> Result<Self, Fault> {
        let mut each = |specs: &[ConditionSpec]| {
            if depth >= MAX_DEPTH {
                let message = format!("conditions stand too deep inside each other: {MAX_DEPTH}");
                return Err(Fault::new("who", RuleErrorCode::InvalidValue, message));
            }
            specs.iter().map(|spec| Self::compile_at(spec, expressions, depth + 1)).collect()
        };
        match spec {
            ConditionSpec::Text(field, TextSpec::Is(text)) => {
                Ok(Self::Text(field.clone(), TextTest::Is(text.as_str().into())))
            }
            ConditionSpec::Text(field, TextSpec::Matches(pattern)) => match expressions.compile(pattern) {
                Ok(expression) => Ok(Self::Text(field.clone(), TextTest::Matches(expression))),
                Err(message) => Err(Fault::new(name_of(field), RuleErrorCode::InvalidValue, message)),
            },
            ConditionSpec::Address(networks) => addresses(networks).map(Self::Address),
            ConditionSpec::Profile(profile) => Ok(Self::Profile(*profile)),
            ConditionSpec::Every(specs) => each(specs).map(Self::Every),
            ConditionSpec::Some(specs) => each(specs).map(Self::Some),
        }
    }

    /// Whether it holds; a text of more than 4,096 bytes is not searched but counted as `if_too_long` says.
    pub(crate) fn holds(&self, client: &Client<'_>, profile: Profile, if_too_long: bool) -> bool {
        match self {
            Self::Text(field, test) => client.field(field).is_some_and(|text| test.holds(text, if_too_long)),
            Self::Address(networks) => {
                client.peer_ip.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
            }
            Self::Profile(wanted) => *wanted == profile,
            Self::Every(conditions) => conditions.iter().all(|condition| condition.holds(client, profile, if_too_long)),
            Self::Some(conditions) => conditions.iter().any(|condition| condition.holds(client, profile, if_too_long)),
        }
    }
}

const fn name_of(field: &ClientField) -> &'static str {
    match field {
        ClientField::ClientId => "clientid_re",
        ClientField::Username => "username_re",
        ClientField::Attribute(_) => "client_attr",
        ClientField::Zone => "zone_re",
        ClientField::Listener => "listener_re",
    }
}

fn addresses(texts: &[String]) -> Result<Box<[Network]>, Fault> {
    let parse = |text: &String| {
        Network::parse(text).ok_or_else(|| {
            let message = format!("must be an IP address or a network: {text:?}");
            Fault::new("ipaddr", RuleErrorCode::InvalidValue, message)
        })
    };
    texts.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::parse(text).expect("a network")
    }

    #[test]
    fn a_network_contains_its_addresses_however_they_are_written() {
        for (text, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.1.2.3/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("0.0.0.0/0", "192.0.2.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.9", true),
            ("::ffff:10.0.0.0/104", "10.0.0.9", true),
            ("::ffff:0:0/90", "10.0.0.9", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ] {
            assert_eq!(network(text).contains(address.parse().expect("an address")), expected, "{text} {address}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::1/129", "a/8", "10.0.0.0/8/8"] {
            assert!(Network::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn too_deep_conditions_are_refused_without_recursion_to_the_end() {
        let mut spec = ConditionSpec::Profile(Profile::Legacy);
        for _ in 0..16 {
            spec = ConditionSpec::Every(vec![spec]);
        }
        assert!(Condition::compile(&spec, &mut Expressions::default()).is_ok());
        let spec = ConditionSpec::Some(vec![spec]);
        let fault = Condition::compile(&spec, &mut Expressions::default()).expect_err("17 deep");
        assert_eq!(fault.field, "who");
    }
}
