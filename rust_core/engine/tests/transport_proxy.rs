//! The PROXY protocol header: what is believed, what is refused, and that cuts do not matter.

use std::net::SocketAddr;

use ppp::v2::{Builder, Command, Protocol, Type, Version};
use proptest::prelude::*;
use pybroker_engine::transport::proxy::{ProxyError, ProxyInfo, ProxyOutcome, ProxySsl, parse};

const SOURCE: &str = "192.0.2.7:50000";
const DESTINATION: &str = "198.51.100.1:8883";

/// A version 2 header from `source` to `destination` with `values` behind the addresses.
fn v2(source: &str, destination: &str, values: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let addresses: (SocketAddr, SocketAddr) = (source.parse().unwrap(), destination.parse().unwrap());
    let mut builder = Builder::with_addresses(Version::Two | Command::Proxy, Protocol::Stream, addresses);
    for (kind, value) in values {
        builder = builder.write_tlv(*kind, value).unwrap();
    }
    builder.build().unwrap()
}

/// An SSL value: `client` bits, `verify`, nested values.
fn ssl(client: u8, verify: u32, nested: &[(u8, &[u8])]) -> (u8, Vec<u8>) {
    let mut value = vec![client];
    value.extend(verify.to_be_bytes());
    for (kind, text) in nested {
        value.push(*kind);
        value.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        value.extend(*text);
    }
    (0x20, value)
}

fn info(header: &[u8]) -> ProxyInfo {
    match parse(header) {
        Ok(ProxyOutcome::Done { consumed, info }) => {
            assert_eq!(consumed, header.len());
            info
        }
        other => panic!("{other:?}"),
    }
}

fn addresses(source: &str, destination: &str) -> ProxyInfo {
    ProxyInfo {
        source: Some(source.parse().unwrap()),
        destination: Some(destination.parse().unwrap()),
        ..ProxyInfo::default()
    }
}

#[test]
fn version_1_gives_addresses() {
    let four = b"PROXY TCP4 192.0.2.7 198.51.100.1 50000 8883\r\n";
    let six = b"PROXY TCP6 2001:db8::7 2001:db8::1 50000 8883\r\n";
    assert_eq!(info(four), addresses(SOURCE, DESTINATION));
    assert_eq!(info(six), addresses("[2001:db8::7]:50000", "[2001:db8::1]:8883"));
}

#[test]
fn version_1_unknown_keeps_the_socket_address() {
    assert_eq!(info(b"PROXY UNKNOWN\r\n"), ProxyInfo::default());
    let longest = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n";
    assert_eq!(info(longest), ProxyInfo::default());
}

#[test]
fn bytes_behind_the_header_are_left_alone() {
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), v2(SOURCE, DESTINATION, &[])] {
        let wire = [header.as_slice(), b"\x10\x0c\r\n"].concat();
        assert!(matches!(parse(&wire), Ok(ProxyOutcome::Done { consumed, .. }) if consumed == header.len()));
    }
}

#[test]
fn broken_lines_are_refused() {
    for line in [
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000 99999\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 050 8883\r\n",
        "PROXY TCP4 192.0.2.777 198.51.100.1 50000 8883\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 50000 8883\r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 50000 8883\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 50000 8883\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 50000 8883\rx",
        "PROXY TCP\r\n",
        "PROXY \r\n",
        "PROXY UNKN\u{fe}OWN\r\n",
    ] {
        assert_eq!(parse(line.as_bytes()), Err(ProxyError::Line), "{line:?}");
    }
}

#[test]
fn line_is_bounded() {
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!(long.len(), 108);
    assert_eq!(parse(long.as_bytes()), Err(ProxyError::LineTooLong));
    assert_eq!(parse(&long.as_bytes()[..107]), Err(ProxyError::LineTooLong));
    assert_eq!(parse(&long.as_bytes()[..106]), Ok(ProxyOutcome::NeedMore));
    info(format!("PROXY UNKNOWN {}\r\n", "x".repeat(91)).as_bytes());
}

#[test]
fn other_protocols_are_recognised_at_their_first_byte() {
    for wire in [&b"\x10"[..], b"GET / HTTP/1.1\r\n", b"PROXZ", b"\r\n\r\n\x01", b"\x16\x03\x01"] {
        assert_eq!(parse(wire), Err(ProxyError::NoHeader), "{wire:?}");
    }
    assert_eq!(parse(b""), Ok(ProxyOutcome::NeedMore));
}

#[test]
fn version_2_gives_addresses() {
    assert_eq!(info(&v2(SOURCE, DESTINATION, &[])), addresses(SOURCE, DESTINATION));
    let (source, destination) = ("[2001:db8::7]:50000", "[2001:db8::1]:8883");
    assert_eq!(info(&v2(source, destination, &[])), addresses(source, destination));
}

#[test]
fn version_2_local_unspecified_and_unix_keep_the_socket_address() {
    let head = |command: u8, family: u8, body: &[u8]| {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, body].concat()
    };
    assert_eq!(info(&head(0x20, 0x00, b"")), ProxyInfo::default());
    assert_eq!(info(&head(0x20, 0x11, b"whatever")), ProxyInfo::default());
    assert_eq!(info(&head(0x21, 0x00, b"\x02\x00\x01x")), ProxyInfo::default());
    let unix = info(&head(0x21, 0x31, &[&[b'/'; 216][..], b"\x02\x00\x01x"].concat()));
    assert_eq!(unix, ProxyInfo { authority: Some("x".to_owned()), ..ProxyInfo::default() });
    assert_eq!(parse(&head(0x31, 0x11, &[0; 12])), Err(ProxyError::Header));
    assert_eq!(parse(&head(0x22, 0x11, &[0; 12])), Err(ProxyError::Header));
    assert_eq!(parse(&head(0x21, 0x41, &[0; 12])), Err(ProxyError::Header));
    assert_eq!(parse(&head(0x21, 0x12, &[0; 12])), Err(ProxyError::Header)); // datagrams
    assert_eq!(parse(&head(0x21, 0x11, &[0; 11])), Err(ProxyError::Header));
}

#[test]
fn version_2_names_are_taken_from_values() {
    let values = [
        (Type::ALPN as u8, b"mqtt".to_vec()),
        (Type::Authority as u8, b"broker.example".to_vec()),
        ssl(0x07, 0, &[(0x21, b"TLSv1.3"), (0x22, "Z\u{e4}hler 7".as_bytes()), (0x23, b"AES")]),
    ];
    let found = info(&v2(SOURCE, DESTINATION, &values));
    assert_eq!(found.authority.as_deref(), Some("broker.example"));
    let expected = ProxySsl {
        common_name: Some("Z\u{e4}hler 7".to_owned()),
        is_verified: true,
        version: Some("TLSv1.3".to_owned()),
    };
    assert_eq!(found.ssl, Some(expected));
}

#[test]
fn certificate_counts_only_if_given_and_verified() {
    let found = |client, verify| info(&v2(SOURCE, DESTINATION, &[ssl(client, verify, &[(0x22, b"meter")])])).ssl;
    assert!(found(0x03, 0).unwrap().is_verified);
    assert!(found(0x05, 0).unwrap().is_verified);
    assert!(!found(0x03, 1).unwrap().is_verified);
    assert!(!found(0x01, 0).unwrap().is_verified);
    assert_eq!(found(0x00, 0), None);
}

#[test]
fn hostile_values_are_refused() {
    let refused = |values: &[(u8, Vec<u8>)]| parse(&v2(SOURCE, DESTINATION, values)).unwrap_err();
    assert_eq!(refused(&[(0x02, b"a\nb".to_vec())]), ProxyError::Text { kind: 0x02 });
    assert_eq!(refused(&[(0x02, b"a\0".to_vec())]), ProxyError::Text { kind: 0x02 });
    assert_eq!(refused(&[(0x02, b"\xff".to_vec())]), ProxyError::Text { kind: 0x02 });
    assert_eq!(refused(&[ssl(1, 0, &[(0x22, b"\x7f")])]), ProxyError::Text { kind: 0x22 });
    assert_eq!(refused(&[ssl(1, 0, &[(0x22, b"a"), (0x22, b"b")])]), ProxyError::Repeated { kind: 0x22 });
    assert_eq!(refused(&[(0x02, b"a".to_vec()), (0x02, b"b".to_vec())]), ProxyError::Repeated { kind: 0x02 });
    assert_eq!(refused(&[ssl(1, 0, &[]), ssl(1, 0, &[])]), ProxyError::Repeated { kind: 0x20 });
    assert_eq!(refused(&[(0x20, vec![1, 0, 0, 0])]), ProxyError::Tlv);
    assert_eq!(refused(&[(0x20, vec![1, 0, 0, 0, 0, 0x22, 0, 9, b'x'])]), ProxyError::Tlv);
    let mut cut = v2(SOURCE, DESTINATION, &[(0x02, b"name".to_vec())]);
    let length = cut.len();
    cut[length - 5] = 9;
    assert_eq!(parse(&cut), Err(ProxyError::Tlv));
}

#[test]
fn long_header_is_refused_before_it_is_waited_for() {
    let mut header = v2(SOURCE, DESTINATION, &[(0x04, vec![0; 4000])]);
    info(&header);
    header[14..16].copy_from_slice(&4313u16.to_be_bytes());
    assert_eq!(parse(&header[..16]), Err(ProxyError::TooLong { announced: 4313 }));
}

#[test]
fn checksum_is_checked() {
    let mut header = v2(SOURCE, DESTINATION, &[(0x03, vec![0; 4]), (0x02, b"broker.example".to_vec())]);
    let sum = crc32c(&header).to_be_bytes();
    header[31..35].copy_from_slice(&sum);
    assert_eq!(info(&header).authority.as_deref(), Some("broker.example"));
    header[20] ^= 1;
    assert_eq!(parse(&header), Err(ProxyError::Checksum));
    let repeated = v2(SOURCE, DESTINATION, &[(0x03, sum.to_vec()), (0x03, sum.to_vec())]);
    assert!(parse(&repeated).is_err());
}

/// CRC-32C by long division, most significant bit first: another way than the parser's.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(byte.reverse_bits()) << 24;
        for _ in 0..8 {
            crc = if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1EDC_6F41 };
        }
    }
    !crc.reverse_bits()
}

#[test]
fn checksum_reference_is_the_known_one() {
    assert_eq!(crc32c(b"123456789"), 0xE306_9283);
}

fn headers() -> impl Strategy<Value = Vec<u8>> {
    let values = prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..4);
    let names = prop::collection::vec((prop_oneof![Just(0x02u8), Just(0x20), Just(0x03)], "[a-z]{0,12}"), 0..3);
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| {
            format!("PROXY TCP4 {} 127.0.0.1 {port} 1883\r\n", std::net::Ipv4Addr::from(ip)).into_bytes()
        }),
        values.prop_map(|values| v2(SOURCE, DESTINATION, &values)),
        names.prop_map(|names| {
            let values: Vec<_> = names.into_iter().map(|(kind, name)| (kind, name.into_bytes())).collect();
            v2(SOURCE, DESTINATION, &values)
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn prefixes_wait_and_tails_do_not_matter(
        header in headers(),
        flip in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        tail in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut wire = header;
        if let Some((at, value)) = flip {
            let index = at.index(wire.len());
            wire[index] = value;
        }
        wire.extend(tail);
        let whole = parse(&wire);
        for end in 0..wire.len() {
            match parse(&wire[..end]) {
                Ok(ProxyOutcome::NeedMore) => {}
                // Once decided, further bytes change nothing.
                decided => { prop_assert_eq!(&decided, &whole); }
            }
        }
        if let Ok(ProxyOutcome::Done { consumed, .. }) = whole {
            prop_assert!(consumed <= wire.len());
        }
    }

    #[test]
    fn any_bytes_are_survived(
        prefix in prop_oneof![Just(&b""[..]), Just(&b"PROXY "[..]), Just(&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00"[..])],
        bytes in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let wire = [prefix, &bytes].concat();
        if let Ok(ProxyOutcome::Done { consumed, .. }) = parse(&wire) {
            prop_assert!(consumed <= wire.len());
        }
    }
}
