//! The MQTT that a load generator needs: requests encoded once, replies split without a copy.
//!
//! Not a codec for anything else. It trusts its own settings and checks only what decides where the next packet begins.

use crate::error::LoadError;

/// Packet types as they stand in the upper half of the first byte.
pub mod kind {
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const PUBREL: u8 = 6;
    pub const PUBCOMP: u8 = 7;
    pub const SUBACK: u8 = 9;
    pub const DISCONNECT: u8 = 14;
}

/// Bytes of a full stamp: publisher, sequence, due time, send time.
pub const STAMP_BYTES: usize = 28;
/// Bytes of the part that every payload carries: publisher and sequence.
pub const SHORT_STAMP_BYTES: usize = 12;

/// Protocol version that the clients of a run speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V311,
    V5,
}

/// One packet from the broker. Payloads are borrowed from the read buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Inbound<'a> {
    /// `receive_maximum` is 65,535 where the broker names none.
    Connack {
        code: u8,
        receive_maximum: u16,
    },
    /// `packet_id` is 0 at QoS 0.
    Publish {
        qos: u8,
        packet_id: u16,
        payload: &'a [u8],
    },
    /// PUBACK, PUBREC, PUBREL or PUBCOMP, see `kind`.
    Ack {
        kind: u8,
        packet_id: u16,
        code: u8,
    },
    /// `refused` is the first code of 0x80 and above.
    Suback {
        refused: Option<u8>,
    },
    Disconnect {
        code: u8,
    },
    /// Packets that no run reacts to.
    Other,
}

/// Optional MQTT 5 properties of the published messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PropertySet {
    /// None: the property length is 0.
    None,
    /// Content type and one user property.
    Light,
    /// Format, expiry, content type, response topic, correlation data, three user properties.
    Full,
}

/// Identity of one message, written at the start of its payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    pub publisher: u32,
    pub sequence: u64,
    /// Time at which the schedule wanted it, nanoseconds since the start of the run; 0 in floods.
    pub due_ns: u64,
    /// Time at which it was handed to the socket, same clock.
    pub sent_ns: u64,
}

impl Stamp {
    /// Reads a stamp; short payloads have no times. `None` if there is not even a sequence.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let publisher = u32::from_be_bytes(payload.get(..4)?.try_into().ok()?);
        let long = |at: usize| {
            payload
                .get(at..at + 8)
                .and_then(|b| b.try_into().ok())
                .map(u64::from_be_bytes)
        };
        Some(Self {
            publisher,
            sequence: long(4)?,
            due_ns: long(12).unwrap_or(0),
            sent_ns: long(20).unwrap_or(0),
        })
    }

    /// Writes as much of the stamp as fits into `payload` (at least `SHORT_STAMP_BYTES`).
    fn encode(&self, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&self.publisher.to_be_bytes());
        payload[4..12].copy_from_slice(&self.sequence.to_be_bytes());
        if payload.len() >= STAMP_BYTES {
            payload[12..20].copy_from_slice(&self.due_ns.to_be_bytes());
            payload[20..28].copy_from_slice(&self.sent_ns.to_be_bytes());
        }
    }
}

/// A PUBLISH encoded once; each message costs one copy and a few patched bytes.
#[derive(Debug)]
pub struct PublishTemplate {
    frame: Vec<u8>,
    packet_id_at: Option<usize>,
    payload_at: usize,
}

/// What distinguishes one `PublishTemplate` from another.
#[derive(Clone, Copy, Debug)]
pub struct PublishShape {
    pub version: Version,
    pub qos: u8,
    pub is_retained: bool,
    pub payload_bytes: usize,
    pub properties: PropertySet,
}

impl PublishTemplate {
    /// Encodes a message for `topic`; the payload is filled with a fixed pattern.
    pub fn new(topic: &str, shape: PublishShape) -> Self {
        let mut body = Vec::with_capacity(topic.len() + shape.payload_bytes + 16);
        put_binary(&mut body, topic.as_bytes());
        let packet_id_in_body = (shape.qos > 0).then_some(body.len());
        if shape.qos > 0 {
            body.extend_from_slice(&[0, 0]);
        }
        if shape.version == Version::V5 {
            let properties = encode_properties(shape.properties);
            put_length(&mut body, properties.len());
            body.extend_from_slice(&properties);
        }
        let payload_in_body = body.len();
        body.extend((0..shape.payload_bytes).map(|i| b"the quick brown fox "[i % 20]));

        let mut frame = vec![0x30 | shape.qos << 1 | u8::from(shape.is_retained)];
        put_length(&mut frame, body.len());
        let head = frame.len();
        frame.extend_from_slice(&body);
        Self {
            frame,
            packet_id_at: packet_id_in_body.map(|at| at + head),
            payload_at: payload_in_body + head,
        }
    }

    /// Appends the message with this identity to `out`. `packet_id` is ignored at QoS 0.
    pub fn append(&self, out: &mut Vec<u8>, packet_id: u16, stamp: &Stamp) {
        let start = out.len();
        out.extend_from_slice(&self.frame);
        if let Some(at) = self.packet_id_at {
            out[start + at..start + at + 2].copy_from_slice(&packet_id.to_be_bytes());
        }
        if self.frame.len() > self.payload_at {
            stamp.encode(&mut out[start + self.payload_at..]);
        }
    }

    /// Size of the whole packet in bytes.
    pub fn len(&self) -> usize {
        self.frame.len()
    }
}

fn encode_properties(set: PropertySet) -> Vec<u8> {
    let mut out = Vec::new();
    let user = |out: &mut Vec<u8>, key: &str, value: &str| {
        out.push(0x26);
        put_binary(out, key.as_bytes());
        put_binary(out, value.as_bytes());
    };
    if set == PropertySet::None {
        return out;
    }
    if set == PropertySet::Full {
        out.extend_from_slice(&[0x01, 0x01, 0x02, 0, 0, 0x0e, 0x10]);
        out.push(0x08);
        put_binary(&mut out, b"replies/load");
        out.push(0x09);
        put_binary(&mut out, b"0123456789abcdef");
        user(&mut out, "site", "north");
        user(&mut out, "unit", "celsius");
    }
    out.push(0x03);
    put_binary(&mut out, b"application/json");
    user(&mut out, "device", "sensor-17");
    out
}

/// Who connects and how.
#[derive(Clone, Copy, Debug)]
pub struct ConnectShape<'a> {
    pub version: Version,
    pub client_id: &'a str,
    pub username: Option<&'a str>,
    /// Only sent beside a user name.
    pub password: Option<&'a str>,
    pub is_clean: bool,
    /// Seconds; only sent in MQTT 5.
    pub session_expiry_s: u32,
}

/// Keep alive of every client: longer than any run, so that no client has to ping.
const KEEP_ALIVE_S: u16 = 3600;

/// Appends a CONNECT.
pub fn put_connect(out: &mut Vec<u8>, shape: &ConnectShape<'_>) {
    let mut body = Vec::with_capacity(32 + shape.client_id.len());
    let password = shape.username.and(shape.password);
    put_binary(&mut body, b"MQTT");
    body.push(if shape.version == Version::V5 { 5 } else { 4 });
    let credentials = u8::from(shape.username.is_some()) << 7 | u8::from(password.is_some()) << 6;
    body.push(credentials | u8::from(shape.is_clean) << 1);
    body.extend_from_slice(&KEEP_ALIVE_S.to_be_bytes());
    if shape.version == Version::V5 {
        if shape.session_expiry_s == 0 {
            body.push(0);
        } else {
            body.extend_from_slice(&[5, 0x11]);
            body.extend_from_slice(&shape.session_expiry_s.to_be_bytes());
        }
    }
    put_binary(&mut body, shape.client_id.as_bytes());
    for credential in shape.username.into_iter().chain(password) {
        put_binary(&mut body, credential.as_bytes());
    }
    out.push(0x10);
    put_length(out, body.len());
    out.extend_from_slice(&body);
}

/// Appends a SUBSCRIBE for all `filters` with one QoS.
pub fn put_subscribe(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: u16,
    filters: &[String],
    qos: u8,
) {
    let mut body = Vec::with_capacity(filters.iter().map(|f| f.len() + 3).sum::<usize>() + 3);
    body.extend_from_slice(&packet_id.to_be_bytes());
    if version == Version::V5 {
        body.push(0);
    }
    for filter in filters {
        put_binary(&mut body, filter.as_bytes());
        body.push(qos);
    }
    out.push(0x82);
    put_length(out, body.len());
    out.extend_from_slice(&body);
}

/// Appends PUBACK, PUBREC, PUBREL or PUBCOMP with the code for success.
pub fn put_ack(out: &mut Vec<u8>, kind: u8, packet_id: u16) {
    let flags = if kind == kind::PUBREL { 2 } else { 0 };
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[kind << 4 | flags, 2, high, low]);
}

/// Appends a DISCONNECT, the same bytes in all versions.
pub fn put_disconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xE0, 0]);
}

fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("topics and names of a run are short");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn put_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let [low, ..] = (length & 0x7f).to_le_bytes();
        length >>= 7;
        if length == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Reads a variable byte integer at `at`: value and index behind it, `None` while it is incomplete.
fn length_at(input: &[u8], at: usize) -> Result<Option<(usize, usize)>, LoadError> {
    let mut value = 0;
    for step in 0..4 {
        let Some(&byte) = input.get(at + step) else {
            return Ok(None);
        };
        value |= usize::from(byte & 0x7f) << (7 * step);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + step + 1)));
        }
    }
    Err(LoadError::Protocol("length of more than four bytes".into()))
}

/// Returns the size of the first packet of `input`, `None` while its header is incomplete.
pub fn packet_bytes(input: &[u8]) -> Result<Option<usize>, LoadError> {
    Ok(length_at(input, 1)?.map(|(length, head)| head + length))
}

/// Splits the first packet off `input`: the packet and its size, `None` while it is incomplete.
///
/// # Errors
/// `LoadError::Protocol` if the bytes cannot be MQTT.
pub fn split(input: &[u8], version: Version) -> Result<Option<(Inbound<'_>, usize)>, LoadError> {
    let Some((length, head)) = length_at(input, 1)? else {
        return Ok(None);
    };
    let Some(body) = input.get(head..head + length) else {
        return Ok(None);
    };
    let packet = decode(input[0], body, version).ok_or_else(|| {
        LoadError::Protocol(format!(
            "packet with first byte {:#04x} is too short",
            input[0]
        ))
    })?;
    Ok(Some((packet, head + length)))
}

fn decode(first: u8, body: &[u8], version: Version) -> Option<Inbound<'_>> {
    Some(match first >> 4 {
        kind::PUBLISH => return decode_publish(first, body, version),
        kind @ kind::PUBACK..=kind::PUBCOMP => Inbound::Ack {
            kind,
            packet_id: u16_at(body, 0)?,
            code: body.get(2).copied().unwrap_or(0),
        },
        kind::CONNACK => Inbound::Connack {
            code: *body.get(1)?,
            receive_maximum: if version == Version::V5 {
                receive_maximum(body.get(2..)?)
            } else {
                u16::MAX
            },
        },
        kind::SUBACK => {
            let codes = if version == Version::V5 {
                let (properties, after) = length_at(body, 2).ok()??;
                body.get(after + properties..)?
            } else {
                body.get(2..)?
            };
            Inbound::Suback {
                refused: codes.iter().copied().find(|code| *code >= 0x80),
            }
        }
        kind::DISCONNECT => Inbound::Disconnect {
            code: body.first().copied().unwrap_or(0),
        },
        _ => Inbound::Other,
    })
}

fn decode_publish(first: u8, body: &[u8], version: Version) -> Option<Inbound<'_>> {
    let qos = first >> 1 & 3;
    let mut at = 2 + usize::from(u16_at(body, 0)?);
    let mut packet_id = 0;
    if qos > 0 {
        packet_id = u16_at(body, at)?;
        at += 2;
    }
    if version == Version::V5 {
        let (properties, after) = length_at(body, at).ok()??;
        at = after + properties;
    }
    Some(Inbound::Publish {
        qos,
        packet_id,
        payload: body.get(at..)?,
    })
}

fn u16_at(input: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*input.get(at)?, *input.get(at + 1)?]))
}

/// Finds the receive maximum in the properties of a CONNACK; an unknown property ends the search.
fn receive_maximum(properties: &[u8]) -> u16 {
    let Ok(Some((length, start))) = length_at(properties, 0) else {
        return u16::MAX;
    };
    let end = (start + length).min(properties.len());
    let mut at = start;
    while at < end {
        let text = |at: usize| u16_at(properties, at).map(|length| 2 + usize::from(length));
        let value = at + 1;
        let size = match properties[at] {
            0x21 => return u16_at(properties, value).unwrap_or(u16::MAX),
            0x24 | 0x25 | 0x28..=0x2A => Some(1),
            0x13 | 0x22 => Some(2),
            0x11 | 0x27 => Some(4),
            0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => text(value),
            0x26 => text(value).and_then(|key| text(value + key).map(|second| key + second)),
            _ => None,
        };
        let Some(size) = size else { break };
        at = value + size;
    }
    u16::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(version: Version, qos: u8, properties: PropertySet) -> PublishShape {
        PublishShape {
            version,
            qos,
            is_retained: false,
            payload_bytes: 64,
            properties,
        }
    }

    #[test]
    fn publish_survives_the_round_trip() {
        let stamp = Stamp {
            publisher: 7,
            sequence: 1 << 40,
            due_ns: 5,
            sent_ns: 6,
        };
        for version in [Version::V311, Version::V5] {
            for (qos, properties) in [
                (0, PropertySet::None),
                (1, PropertySet::Light),
                (2, PropertySet::Full),
            ] {
                let mut out = Vec::new();
                let template = PublishTemplate::new("a/b", shape(version, qos, properties));
                template.append(&mut out, 300, &stamp);
                assert_eq!(out.len(), template.len());
                for cut in 0..out.len() {
                    assert_eq!(split(&out[..cut], version).unwrap(), None);
                }
                let (packet, used) = split(&out, version).unwrap().unwrap();
                let Inbound::Publish {
                    qos: got,
                    packet_id,
                    payload,
                } = packet
                else {
                    panic!("{packet:?}")
                };
                assert_eq!(
                    (got, packet_id, payload.len(), used),
                    (qos, if qos > 0 { 300 } else { 0 }, 64, out.len())
                );
                assert_eq!(Stamp::decode(payload), Some(stamp));
            }
        }
    }

    #[test]
    fn credentials_stand_behind_the_client_id() {
        let connect = |username, password| {
            let mut out = Vec::new();
            let shape = ConnectShape {
                version: Version::V311,
                client_id: "c",
                username,
                password,
                is_clean: true,
                session_expiry_s: 0,
            };
            put_connect(&mut out, &shape);
            (out[9], out[12..].to_vec())
        };
        assert_eq!(connect(None, None), (0x02, b"\0\x01c".to_vec()));
        let named = b"\0\x01c\0\x02me".to_vec();
        assert_eq!(connect(Some("me"), None), (0x82, named.clone()));
        let with_password = [named.as_slice(), b"\0\x01p"].concat();
        assert_eq!(connect(Some("me"), Some("p")), (0xc2, with_password));
        assert_eq!(connect(None, Some("p")), (0x02, b"\0\x01c".to_vec()));
    }

    #[test]
    fn short_payload_carries_no_times() {
        let stamp = Stamp {
            publisher: 1,
            sequence: 2,
            due_ns: 3,
            sent_ns: 4,
        };
        let mut out = Vec::new();
        let mut small = shape(Version::V311, 0, PropertySet::None);
        small.payload_bytes = SHORT_STAMP_BYTES;
        PublishTemplate::new("t", small).append(&mut out, 0, &stamp);
        let Some((Inbound::Publish { payload, .. }, _)) = split(&out, Version::V311).unwrap()
        else {
            panic!()
        };
        assert_eq!(
            Stamp::decode(payload),
            Some(Stamp {
                due_ns: 0,
                sent_ns: 0,
                ..stamp
            })
        );
        assert_eq!(Stamp::decode(&payload[..11]), None);
    }

    #[test]
    fn receive_maximum_is_found_behind_other_properties() {
        let connack = [
            0x20, 13, 0, 0, 10, 0x12, 0, 1, b'x', 0x24, 1, 0x21, 0, 20, 0,
        ];
        let (packet, _) = split(&connack[..15], Version::V5).unwrap().unwrap();
        assert_eq!(
            packet,
            Inbound::Connack {
                code: 0,
                receive_maximum: 20
            }
        );
        let (plain, _) = split(&[0x20, 2, 0, 5], Version::V311).unwrap().unwrap();
        assert_eq!(
            plain,
            Inbound::Connack {
                code: 5,
                receive_maximum: u16::MAX
            }
        );
    }

    #[test]
    fn refused_subscription_is_seen_in_both_versions() {
        let (old, _) = split(&[0x90, 4, 0, 1, 1, 0x80], Version::V311)
            .unwrap()
            .unwrap();
        assert_eq!(
            old,
            Inbound::Suback {
                refused: Some(0x80)
            }
        );
        let (new, _) = split(&[0x90, 5, 0, 1, 0, 2, 0x87], Version::V5)
            .unwrap()
            .unwrap();
        assert_eq!(
            new,
            Inbound::Suback {
                refused: Some(0x87)
            }
        );
    }

    #[test]
    fn overlong_length_is_an_error() {
        assert!(split(&[0x30, 0xff, 0xff, 0xff, 0xff, 1], Version::V311).is_err());
    }
}
