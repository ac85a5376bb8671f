//! Listening sockets: what they accept, with which limits, and the layers of their connections.
//!
//! Python opens and closes them; every shard watches each of them and one is woken per connection.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use pybroker_core::codec::QoS;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::limits::TokenBucket;
use crate::transport::tls::TlsAcceptor;
use crate::transport::websocket::WsSettings;

/// Where a listener listens.
#[derive(Debug, Clone)]
pub enum Bind {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A socket file; a stale one is replaced.
    Unix(PathBuf),
}

/// One line of an access list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessRule {
    /// Whether a match lets the client in.
    pub is_allow: bool,
    /// Network and prefix length; `None` for everyone.
    pub network: Option<(IpAddr, u8)>,
}

impl AccessRule {
    fn matches(&self, peer: IpAddr) -> bool {
        let Some((network, prefix)) = self.network else {
            return true;
        };
        match (network, peer.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(peer)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
                (u32::from(network) ^ u32::from(peer)) & mask == 0
            }
            (IpAddr::V6(network), IpAddr::V6(peer)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
                (u128::from(network) ^ u128::from(peer)) & mask == 0
            }
            _ => false,
        }
    }
}

/// Where the zone of a listener's clients differs from [`crate::settings::Settings`], whose fields these are.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct ZoneTerms {
    /// Largest packet taken; told in CONNACK.
    pub max_packet_bytes: Option<u32>,
    /// Highest QoS taken; told in CONNACK.
    pub max_qos: Option<QoS>,
    /// Highest topic alias taken; told in CONNACK.
    pub max_topic_alias: Option<u16>,
    /// Whether retained messages are taken; told in CONNACK.
    pub is_retain_available: Option<bool>,
    /// Told in CONNACK; Python refuses such filters.
    pub is_wildcard_available: Option<bool>,
    /// Told in CONNACK; Python refuses such filters.
    pub is_shared_available: Option<bool>,
    /// Open QoS 1 and 2 publications taken; told in CONNACK.
    pub receive_maximum: Option<u16>,
    /// QoS 2 packet ids held.
    pub max_awaiting_rel: Option<u16>,
    /// When QoS 2 packet ids are forgotten.
    pub await_rel_timeout_ms: Option<u64>,
    /// Silence allowed, in keep alives.
    pub keepalive_multiplier: Option<f64>,
    /// When 3.x clients get unfinished messages again.
    pub retry_interval_ms: Option<u64>,
    /// Whether promised payload formats are checked.
    pub is_strict: Option<bool>,
    /// Whether 3.x clients never get their own messages back.
    pub ignores_loop_deliver: Option<bool>,
}

/// Everything that makes a listener.
pub struct ListenerSpec {
    /// Name for logs, such as `tcp:default`.
    pub name: String,
    /// Address.
    pub bind: Bind,
    /// Length of the accept queue.
    pub backlog: u32,
    /// Whether small segments are sent at once.
    pub is_nodelay: bool,
    /// TCP keep alive: idle and interval in seconds, and probes.
    pub keepalive: Option<(u32, u32, u32)>,
    /// Send buffer of the socket; 0 leaves the system's choice.
    pub send_buffer_bytes: usize,
    /// Receive buffer; 0 leaves the system's choice.
    pub receive_buffer_bytes: usize,
    /// Connections at once; 0 no limit.
    pub max_connections: usize,
    /// New connections per second; 0 no limit.
    pub max_conn_rate: f64,
    /// Messages per second and client; 0 no limit.
    pub messages_rate: f64,
    /// Bytes per second and client; 0 no limit.
    pub bytes_rate: f64,
    /// Whether connections begin with a PROXY header.
    pub is_proxied: bool,
    /// Time for the PROXY header.
    pub proxy_timeout_ms: u64,
    /// Time for handshakes and CONNECT.
    pub idle_timeout_ms: u64,
    /// Silence after which a connection is closed even if its keep alive allows more; 0 never.
    pub max_silence_ms: u64,
    /// Who may connect: the first match decides, no match refuses; an empty list lets everybody in. Not asked for Unix
    /// sockets, whose clients have no address.
    pub access_rules: Vec<AccessRule>,
    /// TLS.
    pub tls: Option<TlsAcceptor>,
    /// WebSocket.
    pub websocket: Option<Arc<WsSettings>>,
    /// What its clients are granted otherwise than others.
    pub zone: ZoneTerms,
}

impl ListenerSpec {
    /// Whether the access list lets a peer in: the first rule that covers it decides, and no rule lets nobody in unless
    /// the list is empty.
    fn allows(&self, peer: IpAddr) -> bool {
        let rules = &self.access_rules;
        rules.is_empty() || rules.iter().find(|rule| rule.matches(peer)).is_some_and(|rule| rule.is_allow)
    }
}

/// An open listener.
pub struct Listener {
    /// Its number, never used again.
    pub id: u32,
    /// What it was made from, or changed to.
    spec: ArcSwap<ListenerSpec>,
    /// Address as bound.
    pub address: String,
    socket: OwnedFd,
    is_open: AtomicBool,
    connections: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
    bucket: Mutex<Option<TokenBucket>>,
}

/// Why a new connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The access list says no.
    Access,
    /// As many connections as allowed are open.
    Full,
}

impl Listener {
    /// Binds and listens.
    ///
    /// # Errors
    /// The system's error: address in use, not permitted, no such interface.
    pub fn open(id: u32, spec: ListenerSpec, now_ms: u64) -> io::Result<Self> {
        let (socket, address) = match &spec.bind {
            Bind::Tcp(address) => listen_tcp(*address, &spec)?,
            Bind::Unix(path) => listen_unix(path)?,
        };
        let bucket = TokenBucket::new(spec.max_conn_rate, now_ms);
        Ok(Self {
            id,
            spec: ArcSwap::from_pointee(spec),
            address,
            socket,
            is_open: AtomicBool::new(true),
            connections: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            bucket: Mutex::new(bucket),
        })
    }

    /// What holds for connections that are accepted now; each keeps what held when it came.
    #[must_use]
    pub fn spec(&self) -> Arc<ListenerSpec> {
        self.spec.load_full()
    }

    /// Puts another specification in force for connections to come; where it listens and the sizes of the buffers stay,
    /// whatever the new one says.
    ///
    /// # Errors
    /// The system's, for the options of the socket; nothing but some of them has changed then.
    pub fn change(&self, mut spec: ListenerSpec, now_ms: u64) -> io::Result<()> {
        let before = self.spec();
        spec.bind = before.bind.clone();
        let socket = SockRef::from(&self.socket);
        if matches!(spec.bind, Bind::Tcp(_)) {
            tune(&socket, &spec)?;
            socket.listen(i32::try_from(spec.backlog).unwrap_or(i32::MAX))?;
        }
        #[allow(clippy::float_cmp, reason = "a rate that is written alike is the same rate, and its bucket stays")]
        if spec.max_conn_rate != before.max_conn_rate {
            *self.bucket.lock() = TokenBucket::new(spec.max_conn_rate, now_ms);
        }
        self.spec.store(Arc::new(spec));
        Ok(())
    }

    /// The listening socket, for a poller.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether it still accepts.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Stops listening at once: the port is free when this returns, whoever still watches the socket.
    pub fn stop(&self) {
        self.is_open.store(false, Ordering::Relaxed);
        // The socket may have failed already; it is not to be used again either way.
        let _ = SockRef::from(&self.socket).shutdown(std::net::Shutdown::Both);
        if let Bind::Unix(path) = &self.spec().bind {
            // Somebody may have removed the file: it is gone, as wanted.
            let _ = std::fs::remove_file(path);
        }
    }

    /// Milliseconds until the connection rate allows an accept; 0: now.
    pub fn accept_in_ms(&self, now_ms: u64) -> u64 {
        self.bucket.lock().as_mut().map_or(0, |bucket| if bucket.has_tokens(now_ms) { 0 } else { bucket.wait_ms() })
    }

    /// Accepts one waiting connection.
    ///
    /// # Errors
    /// `WouldBlock` when none waits; the system's error when descriptors are used up.
    pub fn accept(&self, now_ms: u64) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
        let (socket, address) = SockRef::from(&self.socket).accept4(libc_flags())?;
        if let Some(bucket) = self.bucket.lock().as_mut() {
            bucket.take(1.0, now_ms);
        }
        Ok((socket.into(), address.as_socket()))
    }

    /// Takes note of a new connection, or says why it is not served.
    ///
    /// # Errors
    /// The refusal; it is counted.
    pub fn admit(&self, peer: Option<SocketAddr>) -> Result<(), Refusal> {
        let spec = self.spec.load();
        let is_allowed = peer.is_none_or(|peer| spec.allows(peer.ip()));
        let open = self.connections.fetch_add(1, Ordering::Relaxed);
        let refusal = if is_allowed {
            (spec.max_connections > 0 && open >= spec.max_connections).then_some(Refusal::Full)
        } else {
            Some(Refusal::Access)
        };
        if let Some(refusal) = refusal {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(refusal);
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes note that a connection has ended.
    pub fn leave(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Open connections, accepted since start, refused since start.
    #[must_use]
    pub fn counts(&self) -> (usize, u64, u64) {
        (
            self.connections.load(Ordering::Relaxed),
            self.accepted.load(Ordering::Relaxed),
            self.refused.load(Ordering::Relaxed),
        )
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.is_open() {
            self.stop();
        }
    }
}

fn libc_flags() -> i32 {
    // SOCK_NONBLOCK | SOCK_CLOEXEC; rustix names them as bits of its own type.
    let flags = rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC;
    i32::try_from(flags.bits()).unwrap_or(0)
}

fn listen_tcp(address: SocketAddr, spec: &ListenerSpec) -> io::Result<(OwnedFd, String)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if spec.send_buffer_bytes > 0 {
        socket.set_send_buffer_size(spec.send_buffer_bytes)?;
    }
    if spec.receive_buffer_bytes > 0 {
        socket.set_recv_buffer_size(spec.receive_buffer_bytes)?;
    }
    tune(&socket, spec)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(i32::try_from(spec.backlog).unwrap_or(i32::MAX))?;
    let bound = socket.local_addr()?.as_socket().map_or_else(String::new, |bound| bound.to_string());
    Ok((socket.into(), bound))
}

/// Sets what a connection takes over from the socket that it is accepted from.
fn tune(socket: &Socket, spec: &ListenerSpec) -> io::Result<()> {
    socket.set_tcp_nodelay(spec.is_nodelay)?;
    let Some((idle_s, interval_s, probes)) = spec.keepalive else {
        return socket.set_keepalive(false);
    };
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(u64::from(idle_s)))
        .with_interval(Duration::from_secs(u64::from(interval_s)))
        .with_retries(probes);
    socket.set_tcp_keepalive(&keepalive)
}

fn listen_unix(path: &Path) -> io::Result<(OwnedFd, String)> {
    // Only a socket that nobody answers on is ours to replace; any other file is somebody's, and binding will say so.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok((listener.into(), path.display().to_string()))
}

/// All open listeners.
#[derive(Default)]
pub struct Listeners {
    open: RwLock<HashMap<u32, Arc<Listener>>>,
    next: AtomicU32,
}

impl Listeners {
    /// Opens a listener.
    ///
    /// # Errors
    /// As [`Listener::open`].
    pub fn open(&self, spec: ListenerSpec, now_ms: u64) -> io::Result<Arc<Listener>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let listener = Arc::new(Listener::open(id, spec, now_ms)?);
        self.open.write().insert(id, Arc::clone(&listener));
        Ok(listener)
    }

    /// Stops a listener and forgets it; its connections live on.
    #[must_use]
    pub fn close(&self, id: u32) -> Option<Arc<Listener>> {
        let listener = self.open.write().remove(&id)?;
        listener.stop();
        Some(listener)
    }

    /// The listener of a number.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<Arc<Listener>> {
        self.open.read().get(&id).cloned()
    }

    /// Every open listener.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Listener>> {
        self.open.read().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn spec(is_nodelay: bool, keepalive: Option<(u32, u32, u32)>) -> ListenerSpec {
        ListenerSpec {
            name: "tcp:test".to_owned(),
            bind: Bind::Tcp(([127, 0, 0, 1], 0).into()),
            backlog: 16,
            is_nodelay,
            keepalive,
            send_buffer_bytes: 0,
            receive_buffer_bytes: 0,
            max_connections: 0,
            max_conn_rate: 0.0,
            messages_rate: 0.0,
            bytes_rate: 0.0,
            is_proxied: false,
            proxy_timeout_ms: 3_000,
            idle_timeout_ms: 15_000,
            max_silence_ms: 0,
            access_rules: Vec::new(),
            tls: None,
            websocket: None,
            zone: ZoneTerms::default(),
        }
    }

    fn accepted(spec: ListenerSpec) -> Socket {
        accepted_by(&Listener::open(1, spec, 0).unwrap())
    }

    fn accepted_by(listener: &Listener) -> Socket {
        let _client = TcpStream::connect(&listener.address).unwrap();
        listener.accept(0).unwrap().0.into()
    }

    #[test]
    fn connections_have_the_options_of_their_listener() {
        let socket = accepted(spec(true, Some((120, 30, 5))));
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(120));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(30));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
        assert!(socket.nonblocking().unwrap());

        let socket = accepted(spec(false, None));
        assert!(!socket.tcp_nodelay().unwrap());
        assert!(!socket.keepalive().unwrap());
    }

    #[test]
    fn connections_have_the_options_that_their_listener_was_changed_to() {
        let listener = Listener::open(1, spec(true, Some((120, 30, 5))), 0).unwrap();
        let address = listener.address.clone();
        listener.change(ListenerSpec { max_connections: 1, ..spec(false, None) }, 0).unwrap();
        assert_eq!(listener.address, address);
        let socket = accepted_by(&listener);
        assert!(!socket.tcp_nodelay().unwrap());
        assert!(!socket.keepalive().unwrap());
        assert_eq!(listener.admit(None), Ok(()));
        assert_eq!(listener.admit(None), Err(Refusal::Full));
    }
}
