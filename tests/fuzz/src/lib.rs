//! What the codec targets have in common: one stream of bytes through one decoder.
#![forbid(unsafe_code)]

use pybroker_core::codec::alias::InboundAliases;
use pybroker_core::codec::{Decoder, Packet, Role, Version, encode};

/// The decoder's limit: small, so that the limit itself is reached.
pub const MAX_PACKET_BYTES: u32 = 4096;

/// Bit of the first input byte: decode as a client.
pub const CLIENT: u8 = 1;
/// Bit of the first input byte: the version is known before the first packet.
pub const KNOWN: u8 = 2;
/// Bit of the first input byte: the lower of two versions.
pub const LOWER: u8 = 4;

/// Decodes the stream behind the choosing byte, packet by packet, and checks each.
///
/// # Panics
/// If the codec breaks a promise.
pub fn check_stream(versions: [Version; 2], data: &[u8]) {
    let Some((&choice, mut rest)) = data.split_first() else {
        return;
    };
    let role = if choice & CLIENT == 0 {
        Role::Server
    } else {
        Role::Client
    };
    let version = versions[usize::from(choice & LOWER == 0)];
    let mut decoder = if choice & KNOWN == 0 && role == Role::Server {
        Decoder::new(role, MAX_PACKET_BYTES)
    } else {
        Decoder::with_version(role, version, MAX_PACKET_BYTES)
    };
    let mut aliases = InboundAliases::new(u16::from(choice));
    loop {
        check_prefixes(decoder, rest);
        let announced = decoder.packet_len(rest);
        match decoder.decode(rest) {
            Ok(Some((packet, consumed))) => {
                assert_eq!(announced, Ok(Some(consumed)));
                check_packet(decoder, role, &packet);
                resolve(&mut aliases, &packet);
                rest = &rest[consumed..];
            }
            Ok(None) => {
                assert!(announced.is_ok_and(|bytes| bytes.is_none_or(|bytes| bytes > rest.len())));
                return;
            }
            Err(error) => {
                let _ = (
                    error.to_string(),
                    error.kind(),
                    error.connack(decoder.version()),
                );
                return;
            }
        }
    }
}

/// A shorter buffer says "more", or what the whole one says.
fn check_prefixes(decoder: Decoder, bytes: &[u8]) {
    let whole = decoder.clone().decode(bytes);
    for end in [
        0,
        1,
        2,
        3,
        5,
        bytes.len() / 2,
        bytes.len().saturating_sub(1),
    ] {
        let Some(prefix) = bytes.get(..end) else {
            continue;
        };
        let part = decoder.clone().decode(prefix);
        assert!(
            part == Ok(None) || part == whole,
            "{end} bytes: {part:?}, all: {whole:?}"
        );
    }
}

/// What was read is written so that it is read the same.
fn check_packet(decoder: Decoder, role: Role, packet: &Packet<'_>) {
    let version = decoder
        .version()
        .expect("a decoder that has decoded knows its version");
    if version == Version::V31 && matches!(packet, Packet::Suback(_)) {
        return; // 3.1 has no failure code, so one that is read is not written.
    }
    // The packet of a second CONNECT has the form of its own version.
    let form = if let Packet::Connect(connect) = packet {
        connect.version
    } else {
        version
    };
    let mut bytes = Vec::new();
    encode(&mut bytes, form, packet);
    let mut again = Decoder::with_version(role, form, u32::MAX);
    assert_eq!(
        again.decode(&bytes),
        Ok(Some((packet.clone(), bytes.len())))
    );
}

fn resolve(aliases: &mut InboundAliases, packet: &Packet<'_>) {
    if let Packet::Publish(publish) = packet
        && let Some(alias) = publish.properties.topic_alias
        && let Ok(topic) = aliases.resolve(alias, publish.topic)
    {
        assert!(!topic.is_empty() && alias.get() <= aliases.max());
    }
}
