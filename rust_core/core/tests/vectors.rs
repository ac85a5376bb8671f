//! Decodes and encodes every case of `tests/vectors/packets` and checks that the cases leave nothing out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pybroker_core::codec::{
    Ack, Auth, Connack, Connect, Decoder, Disconnect, MAX_PACKET_BYTES, Packet, Properties, PropertyId, Publish, Role,
    Suback, Subscribe, SubscribeOptions, Unsuback, Unsubscribe, UserProperties, Version, encode,
};
use pybroker_core::error::DecodeError;
use serde::Deserialize;
use toml::{Table, Value};

#[derive(Deserialize)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    rows: Vec<u16>,
    #[serde(default)]
    spec: Vec<String>,
    #[serde(default = "server")]
    role: String,
    versions: Option<Vec<u8>>,
    max_packet_bytes: Option<u32>,
    bytes: String,
    packet: Option<String>,
    #[serde(default)]
    fields: Table,
    #[serde(default = "yes")]
    is_canonical: bool,
    error: Option<String>,
    reason: Option<u8>,
    connack: Option<(u8, u8)>,
}

fn server() -> String {
    "server".to_owned()
}

fn yes() -> bool {
    true
}

impl Case {
    fn role(&self) -> Role {
        match self.role.as_str() {
            "server" => Role::Server,
            "client" => Role::Client,
            other => panic!("{}: unknown role {other}", self.name),
        }
    }

    /// One fresh decoder for each version the case is about.
    fn decoders(&self) -> Vec<Decoder> {
        let limit = self.max_packet_bytes.unwrap_or(MAX_PACKET_BYTES);
        let role = self.role();
        let Some(versions) = &self.versions else {
            return vec![Decoder::new(role, limit)];
        };
        versions.iter().map(|&level| Decoder::with_version(role, version(level), limit)).collect()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, part) in self.bytes.split('\'').enumerate() {
            if index % 2 == 1 {
                bytes.extend_from_slice(part.as_bytes());
                continue;
            }
            let digits: Vec<u8> = part.bytes().filter(|byte| *byte != b' ').collect();
            for pair in digits.chunks(2) {
                let pair = std::str::from_utf8(pair).expect("digits are ASCII");
                bytes.push(u8::from_str_radix(pair, 16).expect("two hexadecimal digits"));
            }
        }
        bytes
    }
}

fn version(level: u8) -> Version {
    match level {
        3 => Version::V31,
        4 => Version::V311,
        5 => Version::V5,
        other => panic!("no version with level {other}"),
    }
}

fn cases() -> Vec<(String, Case)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/packets");
    let mut cases = Vec::new();
    for entry in std::fs::read_dir(&folder).expect("the folder of the vectors") {
        let path = entry.expect("an entry of the folder").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let file: File = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let stem = path.file_stem().expect("a file name").to_string_lossy().into_owned();
        cases.extend(file.case.into_iter().map(|case| (format!("{stem}: {}", case.name), case)));
    }
    assert!(cases.len() > 300, "only {} cases were found", cases.len());
    cases
}

/// Collects what a packet says under the names of the vectors.
#[derive(Default)]
struct Said(Table);

impl Said {
    fn put(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    fn maybe(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.put(name, value),
            None => self,
        }
    }

    fn bytes(self, name: &str, value: Option<&[u8]>) -> Self {
        self.maybe(name, value.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    }

    fn user(self, name: &str, user: UserProperties<'_>) -> Self {
        if user.is_empty() {
            return self;
        }
        self.put(name, user.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>())
    }
}

fn describe(packet: &Packet<'_>) -> Said {
    match packet {
        Packet::Connect(connect) => describe_connect(connect),
        Packet::Connack(connack) => describe_connack(connack),
        Packet::Publish(publish) => describe_publish(publish),
        Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => describe_ack(ack),
        Packet::Subscribe(subscribe) => describe_subscribe(subscribe),
        Packet::Suback(suback) => describe_suback(suback),
        Packet::Unsubscribe(unsubscribe) => describe_unsubscribe(unsubscribe),
        Packet::Unsuback(unsuback) => describe_unsuback(unsuback),
        Packet::Pingreq | Packet::Pingresp => Said::default(),
        Packet::Disconnect(disconnect) => describe_disconnect(disconnect),
        Packet::Auth(auth) => describe_auth(auth),
    }
}

fn describe_connect(connect: &Connect<'_>) -> Said {
    let properties = &connect.properties;
    let mut said = Said::default()
        .put("version", i64::from(connect.version as u8))
        .put("client_id", connect.client_id)
        .put("keep_alive_s", i64::from(connect.keep_alive_s))
        .put("is_clean_start", connect.is_clean_start)
        .put("is_bridge", connect.is_bridge)
        .maybe("username", connect.username)
        .bytes("password", connect.password)
        .maybe("session_expiry_s", properties.session_expiry_s)
        .put("receive_maximum", i64::from(properties.receive_maximum))
        .maybe("max_packet_bytes", properties.max_packet_bytes)
        .put("topic_alias_maximum", i64::from(properties.topic_alias_maximum))
        .put("requests_response_information", properties.requests_response_information)
        .put("requests_problem_information", properties.requests_problem_information)
        .maybe("authentication_method", properties.authentication_method)
        .bytes("authentication_data", properties.authentication_data)
        .user("user_properties", properties.user_properties);
    if let Some(will) = &connect.will {
        let forwardable = &will.forwardable;
        said = said
            .put("will_topic", will.topic)
            .bytes("will_payload", Some(will.payload))
            .put("will_qos", i64::from(will.qos as u8))
            .put("will_is_retain", will.is_retain)
            .put("will_delay_s", will.delay_s)
            .maybe("will_message_expiry_s", will.message_expiry_s)
            .maybe("will_payload_format", forwardable.payload_format().map(i64::from))
            .maybe("will_content_type", forwardable.content_type())
            .maybe("will_response_topic", forwardable.response_topic())
            .bytes("will_correlation_data", forwardable.correlation_data())
            .user("will_user_properties", forwardable.user_properties());
    }
    said
}

fn describe_connack(connack: &Connack<'_>) -> Said {
    let properties = &connack.properties;
    Said::default()
        .put("is_session_present", connack.is_session_present)
        .put("reason", i64::from(connack.reason as u8))
        .maybe("session_expiry_s", properties.session_expiry_s)
        .put("receive_maximum", i64::from(properties.receive_maximum))
        .put("max_qos", i64::from(properties.max_qos as u8))
        .put("allows_retain", properties.allows_retain)
        .maybe("max_packet_bytes", properties.max_packet_bytes)
        .maybe("assigned_client_id", properties.assigned_client_id)
        .put("topic_alias_maximum", i64::from(properties.topic_alias_maximum))
        .put("allows_wildcards", properties.allows_wildcards)
        .put("allows_subscription_ids", properties.allows_subscription_ids)
        .put("allows_shared_subscriptions", properties.allows_shared_subscriptions)
        .maybe("server_keep_alive_s", properties.server_keep_alive_s.map(i64::from))
        .maybe("response_information", properties.response_information)
        .maybe("server_reference", properties.server_reference)
        .maybe("authentication_method", properties.authentication_method)
        .bytes("authentication_data", properties.authentication_data)
        .maybe("reason_string", properties.reason_string)
        .user("user_properties", properties.user_properties)
}

fn describe_publish(publish: &Publish<'_>) -> Said {
    let properties = &publish.properties;
    let forwardable = &properties.forwardable;
    let said = Said::default()
        .put("is_dup", publish.is_dup)
        .put("qos", i64::from(publish.qos as u8))
        .put("is_retain", publish.is_retain)
        .put("topic", publish.topic)
        .put("packet_id", i64::from(publish.packet_id))
        .bytes("payload", Some(publish.payload))
        .maybe("topic_alias", properties.topic_alias.map(|alias| i64::from(alias.get())))
        .maybe("message_expiry_s", properties.message_expiry_s)
        .maybe("payload_format", forwardable.payload_format().map(i64::from))
        .maybe("content_type", forwardable.content_type())
        .maybe("response_topic", forwardable.response_topic())
        .bytes("correlation_data", forwardable.correlation_data())
        .user("user_properties", forwardable.user_properties());
    let ids: Vec<i64> = properties.subscription_ids().map(i64::from).collect();
    if ids.is_empty() { said } else { said.put("subscription_ids", ids) }
}

fn describe_ack(ack: &Ack<'_>) -> Said {
    Said::default()
        .put("packet_id", i64::from(ack.packet_id))
        .put("reason", i64::from(ack.reason as u8))
        .maybe("reason_string", ack.reason_string)
        .user("user_properties", ack.user_properties)
}

fn describe_subscribe(subscribe: &Subscribe<'_>) -> Said {
    let filters = subscribe.filters.iter().map(|(filter, options)| describe_filter(filter, options));
    Said::default()
        .put("packet_id", i64::from(subscribe.packet_id))
        .maybe("subscription_id", subscribe.subscription_id)
        .user("user_properties", subscribe.user_properties)
        .put("filters", filters.collect::<Vec<_>>())
}

fn describe_filter(filter: &str, options: SubscribeOptions) -> String {
    let no_local = if options.no_local { " no_local" } else { "" };
    let as_published = if options.retain_as_published { " retain_as_published" } else { "" };
    let handling = match options.retain_handling {
        0 => String::new(),
        handling => format!(" retain_handling={handling}"),
    };
    format!("{filter} {}{no_local}{as_published}{handling}", options.qos as u8)
}

fn describe_suback(suback: &Suback<'_>) -> Said {
    describe_codes(suback.packet_id, suback.reason_string, suback.user_properties, suback.codes)
}

fn describe_unsuback(unsuback: &Unsuback<'_>) -> Said {
    let Unsuback { packet_id, reason_string, user_properties, codes } = *unsuback;
    describe_codes(packet_id, reason_string, user_properties, codes)
}

fn describe_codes(id: u16, reason: Option<&str>, user: UserProperties<'_>, codes: &[u8]) -> Said {
    Said::default()
        .put("packet_id", i64::from(id))
        .maybe("reason_string", reason)
        .user("user_properties", user)
        .put("codes", codes.iter().map(|&code| i64::from(code)).collect::<Vec<_>>())
}

fn describe_unsubscribe(unsubscribe: &Unsubscribe<'_>) -> Said {
    Said::default()
        .put("packet_id", i64::from(unsubscribe.packet_id))
        .user("user_properties", unsubscribe.user_properties)
        .put("filters", unsubscribe.filters.iter().map(str::to_owned).collect::<Vec<_>>())
}

fn describe_disconnect(disconnect: &Disconnect<'_>) -> Said {
    Said::default()
        .put("reason", i64::from(disconnect.reason as u8))
        .maybe("session_expiry_s", disconnect.session_expiry_s)
        .maybe("reason_string", disconnect.reason_string)
        .maybe("server_reference", disconnect.server_reference)
        .user("user_properties", disconnect.user_properties)
}

fn describe_auth(auth: &Auth<'_>) -> Said {
    Said::default()
        .put("reason", i64::from(auth.reason as u8))
        .maybe("authentication_method", auth.authentication_method)
        .bytes("authentication_data", auth.authentication_data)
        .maybe("reason_string", auth.reason_string)
        .user("user_properties", auth.user_properties)
}

#[test]
fn every_case_decodes_to_what_it_names() {
    for (name, case) in cases() {
        let bytes = case.bytes();
        for mut decoder in case.decoders() {
            let name = format!("{name} ({:?})", decoder.version());
            match (decoder.decode(&bytes), &case.packet, &case.error) {
                (Ok(Some((packet, consumed))), Some(expected), None) => {
                    assert_eq!(consumed, bytes.len(), "{name}");
                    let kind = format!("{:?}", packet.packet_type()).to_lowercase();
                    assert_eq!(&kind, expected, "{name}");
                    let Said(said) = describe(&packet);
                    for (field, value) in &case.fields {
                        assert_eq!(said.get(field), Some(value), "{name}: {field}");
                    }
                }
                (Err(error), None, Some(expected)) => {
                    assert_eq!(error.kind(), expected, "{name}");
                    assert_eq!(Some(error.reason() as u8), case.reason, "{name}");
                    let answer = error.connack(decoder.version());
                    let answer = answer.map(|(version, code)| (version as u8, code as u8));
                    if case.versions.is_none() {
                        assert_eq!(answer, case.connack, "{name}");
                    }
                }
                (result, ..) => panic!("{name}: {result:?}"),
            }
        }
    }
}

#[test]
fn a_packet_encodes_to_the_bytes_it_came_from() {
    for (name, case) in cases() {
        let bytes = case.bytes();
        for mut decoder in case.decoders() {
            let Ok(Some((packet, _))) = decoder.decode(&bytes) else {
                continue;
            };
            let version = decoder.version().expect("a decoded packet has a version");
            let mut again = Vec::new();
            encode(&mut again, version, &packet);
            if case.is_canonical {
                assert_eq!(again, bytes, "{name}");
            } else {
                assert_ne!(again, bytes, "{name}");
            }
            let mut decoder = Decoder::with_version(case.role(), version, MAX_PACKET_BYTES);
            assert_eq!(decoder.decode(&again), Ok(Some((packet, again.len()))), "{name}");
        }
    }
}

#[test]
fn a_prefix_needs_more_bytes_or_has_the_fault_of_the_whole() {
    for (name, case) in cases() {
        let bytes = case.bytes();
        for decoder in case.decoders() {
            let whole = decoder.clone().decode(&bytes).err();
            for end in 0..bytes.len() {
                match decoder.clone().decode(&bytes[..end]) {
                    Ok(None) => {}
                    Ok(Some(packet)) => panic!("{name}: {end} bytes give {packet:?}"),
                    Err(error) => assert_eq!(Some(error), whole, "{name}: {end} bytes"),
                }
            }
        }
    }
}

#[test]
fn every_packet_has_a_case_in_every_version() {
    let mut seen: BTreeMap<String, BTreeSet<u8>> = BTreeMap::new();
    for (_, case) in cases() {
        let Some(packet) = &case.packet else { continue };
        let mut levels = case.versions.clone().unwrap_or_default();
        levels
            .extend(case.fields.get("version").and_then(Value::as_integer).and_then(|level| u8::try_from(level).ok()));
        seen.entry(packet.clone()).or_default().extend(levels);
    }
    for packet in [
        "connect",
        "connack",
        "publish",
        "puback",
        "pubrec",
        "pubrel",
        "pubcomp",
        "subscribe",
        "suback",
        "unsubscribe",
        "unsuback",
        "pingreq",
        "pingresp",
        "disconnect",
    ] {
        assert_eq!(seen.get(packet), Some(&BTreeSet::from([3, 4, 5])), "{packet}");
    }
    assert_eq!(seen.get("auth"), Some(&BTreeSet::from([5])));
}

#[test]
fn every_row_of_the_codec_has_a_case() {
    let seen: BTreeSet<u16> = cases().into_iter().flat_map(|(_, case)| case.rows).collect();
    let codec = (1..=14).chain(15..=16).chain(18..=23).chain(59..=63);
    for row in codec.chain([66, 69, 70, 72, 87, 88, 116]) {
        assert!(seen.contains(&row), "row {row} has no case");
    }
}

#[test]
fn every_statement_of_the_standard_is_written_like_a_tag() {
    for (name, case) in cases() {
        for tag in case.spec {
            let number = tag.strip_prefix("MQTT5-").or_else(|| tag.strip_prefix("MQTT3-"));
            assert!(number.is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit())), "{name}: {tag}");
        }
    }
}

#[test]
fn every_fault_has_a_case() {
    // These two need the aliases of a connection; `codec/alias.rs` tests them.
    let mut seen = BTreeSet::from(["TopicAliasUnknown".to_owned(), "TopicAliasMemory".to_owned()]);
    seen.extend(cases().into_iter().filter_map(|(_, case)| case.error));
    let kinds: BTreeSet<String> = DecodeError::KINDS.iter().map(|&kind| kind.to_owned()).collect();
    assert_eq!(seen, kinds);
}

#[test]
fn every_property_is_in_a_packet_that_decodes() {
    let mut names = BTreeSet::new();
    for (_, case) in cases().iter().filter(|(_, case)| case.packet.is_some()) {
        names.extend(case.fields.keys().map(|key| key.trim_start_matches("will_").to_owned()));
    }
    let wanted = [
        "payload_format",
        "message_expiry_s",
        "content_type",
        "response_topic",
        "correlation_data",
        "subscription_ids",
        "session_expiry_s",
        "assigned_client_id",
        "server_keep_alive_s",
        "authentication_method",
        "authentication_data",
        "requests_problem_information",
        "delay_s",
        "requests_response_information",
        "response_information",
        "server_reference",
        "reason_string",
        "receive_maximum",
        "topic_alias_maximum",
        "topic_alias",
        "max_qos",
        "allows_retain",
        "user_properties",
        "max_packet_bytes",
        "allows_wildcards",
        "allows_subscription_ids",
        "allows_shared_subscriptions",
    ];
    assert_eq!(wanted.len(), PropertyId::TABLE.len());
    for name in wanted {
        assert!(names.contains(name), "{name}");
    }
    assert_eq!(Properties::new(&[0xFF]).count(), 0);
}
