//! What the broker reads from an X.509 certificate: names, addresses and dates.
//!
//! `x509-parser` does the ASN.1; trust is decided before, by rustls. Names are rendered as EMQX prints them, because
//! they become user names and are compared with what operators wrote down for it.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Attribute types that have a short name, as EMQX spells them; others are printed as object identifier.
const ATTRIBUTE_NAMES: [(&str, &str); 17] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "TITLE"),
    ("2.5.4.42", "GIVENNAME"),
    ("2.5.4.43", "INITIALS"),
    ("2.5.4.44", "GENERATIONQUALIFIER"),
    ("2.5.4.65", "PSEUDONYM"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "EMAILADDRESS"),
];

/// Certificate of a client that rustls has verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerCertificate {
    /// The common name; `None` if the subject has none, several, or one with control characters.
    pub common_name: Option<String>,
    /// The subject, most specific part first: `CN=meter-7,O=Example,C=DE`; empty if there is none.
    pub subject_dn: String,
    /// Subject alternative names in certificate order: `DNS:a.example`, `IP:10.0.0.1`, `email:…`, `URI:…`.
    pub sans: Vec<String>,
    /// The certificate itself.
    pub der: Vec<u8>,
}

/// Facts of a listener's own certificate, for operators and expiry alarms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Subject, most specific part first.
    pub subject_dn: String,
    /// Issuer, most specific part first.
    pub issuer_dn: String,
    /// Serial number as lower-case hexadecimal bytes, separated by colons.
    pub serial: String,
    /// Subject alternative names, as in [`PeerCertificate::sans`].
    pub sans: Vec<String>,
    /// First second of validity, seconds since 1970.
    pub not_before_s: i64,
    /// Last second of validity, seconds since 1970.
    pub not_after_s: i64,
}

impl PeerCertificate {
    /// Reads a certificate; one that cannot be parsed keeps only its bytes, so it names nobody.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Self {
        let mut peer = Self { der: der.to_vec(), ..Self::default() };
        if let Ok((_, certificate)) = X509Certificate::from_der(der) {
            peer.common_name = common_name(certificate.subject());
            peer.subject_dn = render_name(certificate.subject());
            peer.sans = alternative_names(&certificate);
        }
        peer
    }
}

impl CertificateInfo {
    /// Reads a certificate; `None` if it cannot be parsed.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self {
            subject_dn: render_name(certificate.subject()),
            issuer_dn: render_name(certificate.issuer()),
            serial: certificate.raw_serial_as_string(),
            sans: alternative_names(&certificate),
            not_before_s: certificate.validity().not_before.timestamp(),
            not_after_s: certificate.validity().not_after.timestamp(),
        })
    }
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    let mut names = name.iter_common_name();
    let only = names.next()?;
    if names.next().is_some() {
        return None;
    }
    let text = attribute_text(only)?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

/// The value of an attribute as text; `None` for encodings that are not text.
fn attribute_text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    if let Ok(text) = attribute.as_str() {
        return Some(text.to_owned());
    }
    // BMPString (tag 30): UTF-16, big-endian; still issued by some enterprise authorities.
    let value = attribute.attr_value();
    if value.header.tag().0 != 30 {
        return None;
    }
    let (units, rest) = value.data.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let units: Vec<u16> = units.iter().map(|&unit| u16::from_be_bytes(unit)).collect();
    String::from_utf16(&units).ok()
}

/// Renders a name as RFC 4514 does: last part first, `,` between parts, `+` inside one.
fn render_name(name: &X509Name<'_>) -> String {
    let parts: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for part in parts.iter().rev() {
        for (index, attribute) in part.iter().enumerate() {
            if !text.is_empty() {
                text.push(if index == 0 { ',' } else { '+' });
            }
            let oid = attribute.attr_type().to_id_string();
            let known = ATTRIBUTE_NAMES.iter().find(|(id, _)| *id == oid);
            text.push_str(known.map_or(oid.as_str(), |(_, short)| short));
            text.push('=');
            if let Some(value) = attribute_text(attribute) {
                push_escaped(&mut text, &value);
            } else {
                text.push('#');
                push_hex(&mut text, attribute.as_slice());
            }
        }
    }
    text
}

/// Escapes an attribute value. Spec: RFC 4514, 2.4; control characters as `\` and two digits for each byte.
fn push_escaped(text: &mut String, value: &str) {
    let last = value.chars().count().saturating_sub(1);
    for (index, symbol) in value.chars().enumerate() {
        let is_special = matches!(symbol, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || (index == 0 && matches!(symbol, ' ' | '#'))
            || (index == last && symbol == ' ');
        if symbol.is_control() {
            for byte in symbol.encode_utf8(&mut [0; 4]).bytes() {
                text.push('\\');
                push_hex(text, &[byte]);
            }
        } else {
            if is_special {
                text.push('\\');
            }
            text.push(symbol);
        }
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
}

fn alternative_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    extension.value.general_names.iter().filter_map(render_alternative).collect()
}

/// Renders one alternative name; kinds that nobody matches on, and text with control characters, are left out.
fn render_alternative(name: &GeneralName<'_>) -> Option<String> {
    let text = match name {
        GeneralName::DNSName(host) => format!("DNS:{host}"),
        GeneralName::RFC822Name(address) => format!("email:{address}"),
        GeneralName::URI(uri) => format!("URI:{uri}"),
        GeneralName::IPAddress(bytes) => {
            if let Ok(octets) = <[u8; 4]>::try_from(*bytes) {
                format!("IP:{}", Ipv4Addr::from(octets))
            } else {
                format!("IP:{}", Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).ok()?))
            }
        }
        GeneralName::DirectoryName(directory) => format!("DirName:{}", render_name(directory)),
        _ => return None,
    };
    (!text.chars().any(char::is_control)).then_some(text)
}
