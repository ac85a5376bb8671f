//! The PROXY protocol header, versions 1 and 2, that a load balancer puts in front of a connection's own bytes.
//!
//! A pure function over the bytes received so far: it never allocates more than the header holds and never waits.
//! The two binary layouts are read by the `ppp` crate; this file bounds the input, judges what may be believed and
//! turns it into addresses and names. Whether a peer may send such a header at all is the listener's decision.

use std::fmt;
use std::net::SocketAddr;

use ppp::{v1, v2};

/// Longest version 1 line, CR LF included, in bytes (specification, section 2.1).
const MAX_V1_BYTES: usize = 107;
/// Bytes before the addresses of a version 2 header.
const V2_FIXED_BYTES: usize = 16;
/// Longest address block of version 2: two UNIX socket paths.
const MAX_ADDRESS_BYTES: usize = 216;
/// Room for type-length-values of version 2; a forwarded client certificate of an RSA 4096 key needs about 2 KiB.
const MAX_TLV_BYTES: usize = 4096;
/// First bytes of every version 1 header.
const V1_PREFIX: &[u8] = b"PROXY ";

const TLV_AUTHORITY: u8 = 0x02;
const TLV_CRC32C: u8 = 0x03;
const TLV_SSL: u8 = 0x20;
const TLV_SSL_VERSION: u8 = 0x21;
const TLV_SSL_COMMON_NAME: u8 = 0x22;

/// `client` bits of the SSL value: the connection is TLS, a certificate was given on it, or earlier in its session.
const SSL_CLIENT_TLS: u8 = 0x01;
const SSL_CLIENT_CERTIFICATE: u8 = 0x02 | 0x04;
/// Bytes of the SSL value before its own type-length-values: `client` and `verify`.
const SSL_FIXED_BYTES: usize = 5;

/// What [`parse`] found at the front of the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyOutcome {
    /// The bytes are a correct beginning; call again with more of them behind.
    NeedMore,
    /// A whole header.
    Done {
        /// Bytes of the header; the client's own bytes follow.
        consumed: usize,
        /// What it says.
        info: ProxyInfo,
    },
}

/// What a header says about the connection behind the proxy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxyInfo {
    /// Address of the client; `None` for LOCAL, UNKNOWN and UNIX sockets: the address of the socket itself holds.
    pub source: Option<SocketAddr>,
    /// Address the client connected to; `None` together with `source`.
    pub destination: Option<SocketAddr>,
    /// TLS between client and proxy; `None` if there was none or the proxy does not tell.
    pub ssl: Option<ProxySsl>,
    /// Server name that the client asked for (SNI).
    pub authority: Option<String>,
}

/// TLS between client and proxy, as the proxy saw it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxySsl {
    /// Common name of the client certificate. It proves something only if `is_verified`.
    pub common_name: Option<String>,
    /// The client gave a certificate and the proxy verified it.
    pub is_verified: bool,
    /// Protocol version as text, for example `TLSv1.3`.
    pub version: Option<String>,
}

/// Why a header is refused; the connection is closed without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyError {
    /// The bytes begin like neither version.
    NoHeader,
    /// A version 1 line that does not end within 107 bytes.
    LineTooLong,
    /// A version 1 line that cannot be read.
    Line,
    /// A version 2 header that announces more than [`parse`] accepts.
    TooLong {
        /// Announced bytes behind the fixed part.
        announced: usize,
    },
    /// A version 2 header with an unknown version, command, family or transport, or too few address bytes.
    Header,
    /// A type-length-value that reaches beyond its container.
    Tlv,
    /// A type that may occur once came twice.
    Repeated {
        /// The type.
        kind: u8,
    },
    /// Text that is not UTF-8 or holds a control character.
    Text {
        /// The type whose value is wrong.
        kind: u8,
    },
    /// The CRC-32C in the header does not fit its bytes.
    Checksum,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader => f.write_str("proxy protocol header expected"),
            Self::LineTooLong => f.write_str("proxy protocol line is longer than 107 bytes"),
            Self::Line => f.write_str("proxy protocol line is malformed"),
            Self::TooLong { announced } => {
                write!(f, "proxy protocol header is too long: {announced}")
            }
            Self::Header => f.write_str("proxy protocol header is malformed"),
            Self::Tlv => f.write_str("proxy protocol value reaches beyond the header"),
            Self::Repeated { kind } => write!(f, "proxy protocol value occurs twice: {kind:#04x}"),
            Self::Text { kind } => write!(f, "proxy protocol value is not plain text: {kind:#04x}"),
            Self::Checksum => f.write_str("proxy protocol checksum is wrong"),
        }
    }
}

impl std::error::Error for ProxyError {}

/// Reads the header at the front of `buf`, the bytes of the connection from its first one on.
///
/// The answer depends only on the bytes, not on how they were cut: a prefix of a good header is `NeedMore`. At most
/// 4,328 bytes are ever waited for. Cost is linear in the header.
///
/// # Errors
/// [`ProxyError`] as soon as no continuation can make a header of the bytes; retrying does not help.
///
/// Spec: The PROXY protocol, 2.1 and 2.2.
pub fn parse(buf: &[u8]) -> Result<ProxyOutcome, ProxyError> {
    if begins_like(buf, v2::PROTOCOL_PREFIX) {
        parse_v2(buf)
    } else if begins_like(buf, V1_PREFIX) {
        parse_v1(buf)
    } else {
        Err(ProxyError::NoHeader)
    }
}

/// Whether `buf` starts with `prefix`, or is itself the start of it.
fn begins_like(buf: &[u8], prefix: &[u8]) -> bool {
    buf.iter().zip(prefix).all(|(byte, expected)| byte == expected)
}

fn parse_v1(buf: &[u8]) -> Result<ProxyOutcome, ProxyError> {
    let window = buf.get(..MAX_V1_BYTES).unwrap_or(buf);
    let Some(carriage_return) = window.iter().position(|&byte| byte == b'\r') else {
        return if buf.len() < MAX_V1_BYTES { Ok(ProxyOutcome::NeedMore) } else { Err(ProxyError::LineTooLong) };
    };
    let consumed = carriage_return + 2;
    if consumed > MAX_V1_BYTES {
        return Err(ProxyError::LineTooLong);
    }
    let Some(line) = buf.get(..consumed) else {
        return Ok(ProxyOutcome::NeedMore);
    };
    let header = v1::Header::try_from(line).map_err(|_| ProxyError::Line)?;
    let (source, destination) = match header.addresses {
        v1::Addresses::Tcp4(ip) => (
            Some(SocketAddr::from((ip.source_address, ip.source_port))),
            Some(SocketAddr::from((ip.destination_address, ip.destination_port))),
        ),
        v1::Addresses::Tcp6(ip) => (
            Some(SocketAddr::from((ip.source_address, ip.source_port))),
            Some(SocketAddr::from((ip.destination_address, ip.destination_port))),
        ),
        v1::Addresses::Unknown => (None, None),
    };
    let info = ProxyInfo { source, destination, ..ProxyInfo::default() };
    Ok(ProxyOutcome::Done { consumed, info })
}

fn parse_v2(buf: &[u8]) -> Result<ProxyOutcome, ProxyError> {
    let Some(&[.., command, _family, high, low]) = buf.first_chunk::<V2_FIXED_BYTES>() else {
        return Ok(ProxyOutcome::NeedMore);
    };
    let announced = usize::from(u16::from_be_bytes([high, low]));
    if announced > MAX_ADDRESS_BYTES + MAX_TLV_BYTES {
        return Err(ProxyError::TooLong { announced });
    }
    let consumed = V2_FIXED_BYTES + announced;
    let Some(whole) = buf.get(..consumed) else {
        return Ok(ProxyOutcome::NeedMore);
    };
    // LOCAL: a health check of the proxy itself; whatever else the header holds is to be skipped unread.
    if command == 0x20 {
        return Ok(ProxyOutcome::Done { consumed, info: ProxyInfo::default() });
    }
    let header = v2::Header::try_from(whole).map_err(|_| ProxyError::Header)?;
    if header.protocol == v2::Protocol::Datagram {
        return Err(ProxyError::Header);
    }
    let mut info = ProxyInfo::default();
    match header.addresses {
        v2::Addresses::IPv4(ip) => {
            info.source = Some(SocketAddr::from((ip.source_address, ip.source_port)));
            info.destination = Some(SocketAddr::from((ip.destination_address, ip.destination_port)));
        }
        v2::Addresses::IPv6(ip) => {
            info.source = Some(SocketAddr::from((ip.source_address, ip.source_port)));
            info.destination = Some(SocketAddr::from((ip.destination_address, ip.destination_port)));
        }
        v2::Addresses::Unix(_) => {}
        // The length of an unspecified address is unknown, so there is nothing to find values behind.
        v2::Addresses::Unspecified => return Ok(ProxyOutcome::Done { consumed, info }),
    }
    read_values(&header, &mut info)?;
    Ok(ProxyOutcome::Done { consumed, info })
}

/// Takes server name and TLS facts from the values of `header`, and checks its checksum if it carries one.
fn read_values(header: &v2::Header<'_>, info: &mut ProxyInfo) -> Result<(), ProxyError> {
    let mut has_checksum = false;
    let mut offset = header.len() - header.tlv_bytes().len();
    for value in header.tlvs() {
        let value = value.map_err(|_| ProxyError::Tlv)?;
        offset += 3;
        match value.kind {
            TLV_AUTHORITY => store_text(&mut info.authority, value.kind, &value.value)?,
            TLV_SSL => {
                if info.ssl.is_some() {
                    return Err(ProxyError::Repeated { kind: value.kind });
                }
                info.ssl = read_ssl(&value.value)?;
            }
            TLV_CRC32C => {
                if has_checksum {
                    return Err(ProxyError::Repeated { kind: value.kind });
                }
                has_checksum = true;
                check_crc32c(header.as_bytes(), offset, &value.value)?;
            }
            _ => {}
        }
        offset += value.value.len();
    }
    Ok(())
}

/// Reads the SSL value; `None` if it says that the client did not use TLS.
fn read_ssl(value: &[u8]) -> Result<Option<ProxySsl>, ProxyError> {
    let Some((&[client, verify @ ..], nested)) = value.split_first_chunk::<SSL_FIXED_BYTES>() else {
        return Err(ProxyError::Tlv);
    };
    let mut ssl =
        ProxySsl { is_verified: client & SSL_CLIENT_CERTIFICATE != 0 && verify == [0; 4], ..ProxySsl::default() };
    for value in v2::TypeLengthValues::from(nested) {
        let value = value.map_err(|_| ProxyError::Tlv)?;
        match value.kind {
            TLV_SSL_VERSION => store_text(&mut ssl.version, value.kind, &value.value)?,
            TLV_SSL_COMMON_NAME => store_text(&mut ssl.common_name, value.kind, &value.value)?,
            _ => {}
        }
    }
    Ok((client & SSL_CLIENT_TLS != 0).then_some(ssl))
}

/// Puts text of the header into `slot`. These names become user names and log fields, hence no control characters.
fn store_text(slot: &mut Option<String>, kind: u8, value: &[u8]) -> Result<(), ProxyError> {
    if slot.is_some() {
        return Err(ProxyError::Repeated { kind });
    }
    let text = std::str::from_utf8(value).map_err(|_| ProxyError::Text { kind })?;
    if text.chars().any(char::is_control) {
        return Err(ProxyError::Text { kind });
    }
    // An empty name is how some proxies say that there is none.
    *slot = (!text.is_empty()).then(|| text.to_owned());
    Ok(())
}

/// Compares the checksum at `offset` of `header` with the one of its bytes, where the checksum itself counts as zeros.
fn check_crc32c(header: &[u8], offset: usize, sum: &[u8]) -> Result<(), ProxyError> {
    let &[a, b, c, d] = sum else {
        return Err(ProxyError::Tlv);
    };
    let mut crc = u32::MAX;
    for (index, &byte) in header.iter().enumerate() {
        let is_sum = index >= offset && index < offset + sum.len();
        crc ^= if is_sum { 0 } else { u32::from(byte) };
        for _ in 0..8 {
            // 0x82F63B78: the Castagnoli polynomial, bits reversed.
            crc = (crc >> 1) ^ (0x82F6_3B78 & 0u32.wrapping_sub(crc & 1));
        }
    }
    if !crc == u32::from_be_bytes([a, b, c, d]) { Ok(()) } else { Err(ProxyError::Checksum) }
}
