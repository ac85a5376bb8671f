//! The HTTP request that opens a WebSocket, judged and answered.
//!
//! `httparse` reads the request, this file decides: path, origin, version, key, sub-protocol. A refusal is a complete
//! HTTP answer with a body that says why, never a silent close. Frames are `websocket.rs`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest as _, Sha1};

/// Header lines accepted in one request; browsers behind two proxies send about 25.
const MAX_HEADERS: usize = 64;
/// Appended to the client's key before hashing. Spec: RFC 6455, 1.3.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Sub-protocols we speak, in no order: the client's order decides. `mqtt` is the standard's; `mqttv3.1` is asked for
/// by 3.1 clients, the others by clients written for EMQX. [MQTT5-6.0.0-3]
const SUBPROTOCOLS: [&str; 5] = ["mqtt", "mqttv3.1", "mqtt-v3", "mqtt-v3.1.1", "mqtt-v5"];

/// What a WebSocket listener accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WsSettings {
    /// Path of the request, without query; anything else is 404.
    pub path: String,
    /// Whether the `Origin` of a request must be in `allowed_origins`.
    pub check_origin: bool,
    /// Origins as browsers send them, for example `https://example.org:8443`; compared without regard to case.
    pub allowed_origins: Vec<String>,
    /// Whether a request without `Origin` passes the check; programs other than browsers send none.
    pub allow_no_origin: bool,
    /// Whether a client that offers no sub-protocol is refused. One that offers only foreign ones always is.
    pub fail_if_no_subprotocol: bool,
    /// Longest message (all its frames together) in bytes; `None`: the MQTT packet limit alone decides.
    pub max_frame_bytes: Option<usize>,
    /// Longest request, blank line included, in bytes.
    pub max_header_bytes: usize,
}

impl Default for WsSettings {
    fn default() -> Self {
        Self {
            path: "/mqtt".to_owned(),
            check_origin: false,
            allowed_origins: Vec::new(),
            allow_no_origin: true,
            fail_if_no_subprotocol: true,
            max_frame_bytes: None,
            max_header_bytes: 8192,
        }
    }
}

/// What the rest of the broker may want to know of an accepted request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WsRequest {
    /// Path as sent, without query.
    pub path: String,
    /// Query without `?`, not decoded; empty if there is none.
    pub query: String,
    /// Sub-protocol that was chosen and echoed; `None` if none was offered.
    pub subprotocol: Option<&'static str>,
    /// `Cookie`, all lines joined by `; `.
    pub cookie: Option<String>,
    /// `X-Forwarded-For`, all lines joined by `, `. Anybody can send it: believe it only from a trusted proxy.
    pub forwarded_for: Option<String>,
    /// `X-Forwarded-Port`, under the same reservation.
    pub forwarded_port: Option<String>,
}

/// Why a request is refused: the status of the answer and the sentence in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status, 400 to 431.
    pub status: u16,
    /// What is wrong, for the body and the log.
    pub reason: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "websocket request refused with {}: {}", self.status, self.reason)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    const fn bad(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }

    /// Writes the whole HTTP answer behind `reply`; the connection is to be closed after it.
    pub fn render(self, reply: &mut Vec<u8>) {
        let (phrase, extra) = match self.status {
            403 => ("Forbidden", ""),
            404 => ("Not Found", ""),
            405 => ("Method Not Allowed", "Allow: GET\r\n"),
            426 => ("Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
            431 => ("Request Header Fields Too Large", ""),
            _ => ("Bad Request", ""),
        };
        let (status, length) = (self.status, self.reason.len() + 1);
        reply.extend_from_slice(
            format!(
                "HTTP/1.1 {status} {phrase}\r\n{extra}Connection: close\r\nContent-Type: text/plain; charset=utf-8\r\n\
                 Content-Length: {length}\r\n\r\n{}\n",
                self.reason
            )
            .as_bytes(),
        );
    }
}

/// Reads a request from the front of `head`.
///
/// `Ok(None)`: more bytes are needed. Otherwise the accepted request and its length in bytes; the 101 answer stands
/// behind `reply`. The caller bounds `head` with `max_header_bytes`.
///
/// # Errors
/// [`Refusal`]; nothing was written, see [`Refusal::render`].
///
/// Spec: RFC 6455, 4.2. [MQTT5-6.0.0-4]
pub fn accept(head: &[u8], settings: &WsSettings, reply: &mut Vec<u8>) -> Result<Option<(WsRequest, usize)>, Refusal> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut lines);
    let consumed = match request.parse(head) {
        Ok(httparse::Status::Complete(consumed)) => consumed,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal { status: 431, reason: "too many header lines" });
        }
        Err(httparse::Error::Version) => return Err(Refusal::bad("HTTP/1.1 expected")),
        Err(_) => return Err(Refusal::bad("not an HTTP request")),
    };
    let headers = Headers(request.headers);
    check_request_line(&request, &headers)?;
    let (path, query) = split_target(request.path.unwrap_or_default());
    if path != settings.path {
        return Err(Refusal { status: 404, reason: "no such path" });
    }
    check_origin(&headers, settings)?;
    let key = check_upgrade(&headers)?;
    let subprotocol = choose_subprotocol(&headers, settings)?;
    render_acceptance(key, subprotocol, reply);
    let accepted = WsRequest {
        path: path.to_owned(),
        query: query.to_owned(),
        subprotocol,
        cookie: headers.joined("cookie", "; "),
        forwarded_for: headers.joined("x-forwarded-for", ", "),
        forwarded_port: headers.joined("x-forwarded-port", ", "),
    };
    Ok(Some((accepted, consumed)))
}

/// The header lines of one request.
struct Headers<'h>(&'h [httparse::Header<'h>]);

impl<'h> Headers<'h> {
    /// Values of all lines called `name`, in their order.
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'h [u8]> {
        self.0.iter().filter(move |line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value)
    }

    /// Value of the only line called `name`; a second one makes the request ambiguous.
    fn single(&self, name: &'static str, reason: &'static str) -> Result<Option<&'h [u8]>, Refusal> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { Err(Refusal::bad(reason)) } else { Ok(first.map(<[u8]>::trim_ascii)) }
    }

    /// Members of a comma-separated list, over all its lines.
    fn members(&self, name: &'static str) -> impl Iterator<Item = &'h [u8]> {
        self.all(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|member| !member.is_empty())
    }

    fn has_member(&self, name: &'static str, member: &str) -> bool {
        self.members(name).any(|found| found.eq_ignore_ascii_case(member.as_bytes()))
    }

    /// All lines called `name` as one text; bytes that are not UTF-8 are replaced.
    fn joined(&self, name: &'static str, separator: &str) -> Option<String> {
        let values: Vec<_> = self.all(name).map(String::from_utf8_lossy).collect();
        (!values.is_empty()).then(|| values.join(separator))
    }
}

fn check_request_line(request: &httparse::Request<'_, '_>, headers: &Headers<'_>) -> Result<(), Refusal> {
    if request.method != Some("GET") {
        return Err(Refusal { status: 405, reason: "GET expected" });
    }
    if request.version != Some(1) {
        return Err(Refusal::bad("HTTP/1.1 expected"));
    }
    if headers.single("host", "more than one Host header")?.is_none() {
        return Err(Refusal::bad("Host header expected"));
    }
    // A body would be taken for frames by us and for something else by a proxy in front.
    let length = headers.single("content-length", "more than one Content-Length header")?;
    if length.is_some_and(|length| length != b"0") || headers.all("transfer-encoding").next().is_some() {
        return Err(Refusal::bad("request must not have a body"));
    }
    Ok(())
}

/// Path and query of a request target in origin form (`/mqtt?a=b`) or absolute form (`ws://host/mqtt`).
fn split_target(target: &str) -> (&str, &str) {
    let local = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/")
        }
        _ => target,
    };
    local.split_once('?').unwrap_or((local, ""))
}

fn check_origin(headers: &Headers<'_>, settings: &WsSettings) -> Result<(), Refusal> {
    if !settings.check_origin {
        return Ok(());
    }
    match headers.single("origin", "more than one Origin header")? {
        None if settings.allow_no_origin => Ok(()),
        None => Err(Refusal { status: 403, reason: "Origin header expected" }),
        Some(origin) => {
            let is_allowed = settings.allowed_origins.iter().any(|known| origin.eq_ignore_ascii_case(known.as_bytes()));
            if is_allowed { Ok(()) } else { Err(Refusal { status: 403, reason: "origin is not allowed" }) }
        }
    }
}

/// Checks the upgrade headers and returns the client's key.
fn check_upgrade<'h>(headers: &Headers<'h>) -> Result<&'h [u8], Refusal> {
    if !headers.has_member("upgrade", "websocket") {
        return Err(Refusal::bad("Upgrade: websocket expected"));
    }
    if !headers.has_member("connection", "upgrade") {
        return Err(Refusal::bad("Connection: Upgrade expected"));
    }
    if headers.single("sec-websocket-version", "more than one Sec-WebSocket-Version header")? != Some(b"13".as_slice())
    {
        return Err(Refusal { status: 426, reason: "Sec-WebSocket-Version: 13 expected" });
    }
    let key = headers.single("sec-websocket-key", "more than one Sec-WebSocket-Key header")?;
    match key {
        Some(key) if BASE64.decode(key).is_ok_and(|nonce| nonce.len() == 16) => Ok(key),
        _ => Err(Refusal::bad("Sec-WebSocket-Key must be 16 bytes in base64")),
    }
}

/// The first offered sub-protocol that we speak. [MQTT3-6.0.0-4] [MQTT5-6.0.0-4]
fn choose_subprotocol(headers: &Headers<'_>, settings: &WsSettings) -> Result<Option<&'static str>, Refusal> {
    let mut is_offered = false;
    for offer in headers.members("sec-websocket-protocol") {
        is_offered = true;
        if let Some(known) = SUBPROTOCOLS.iter().find(|known| offer == known.as_bytes()) {
            return Ok(Some(known));
        }
    }
    if is_offered {
        return Err(Refusal::bad("sub-protocol mqtt expected, others were offered"));
    }
    if settings.fail_if_no_subprotocol {
        return Err(Refusal::bad("sub-protocol mqtt expected, none was offered"));
    }
    Ok(None)
}

fn render_acceptance(key: &[u8], subprotocol: Option<&str>, reply: &mut Vec<u8>) {
    let digest = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    let accept = BASE64.encode(digest);
    reply.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
    );
    reply.extend_from_slice(accept.as_bytes());
    if let Some(subprotocol) = subprotocol {
        reply.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        reply.extend_from_slice(subprotocol.as_bytes());
    }
    reply.extend_from_slice(b"\r\n\r\n");
}
