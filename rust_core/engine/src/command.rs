//! Commands: what other threads ask of a shard, through its mailbox.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::events::Cause;
use crate::handshake::ConnackExtra;
use crate::link::ConnId;
use crate::listener::Listener;
use crate::memo::KeptVerdict;
use crate::session::Session;

/// What other threads ask of a shard.
pub enum Command {
    /// Serve a connection that another shard accepted.
    Adopt {
        /// The socket.
        fd: OwnedFd,
        /// Its listener, which has admitted it.
        listener: Arc<Listener>,
        /// Where it came from.
        source: Option<SocketAddr>,
    },
    /// Watch a listener.
    Listen(Arc<Listener>),
    /// Stop watching a listener; with a reason, end its connections too.
    Unlisten {
        /// The listener.
        id: u32,
        /// Reason code for its connections.
        reason: Option<u8>,
    },
    /// CONNACK 0, attached to a session.
    Accept {
        /// The connection.
        conn: ConnId,
        /// The session.
        session: Arc<Session>,
        /// What `Session::claim` gave for this connection.
        claim: u64,
        /// Session present.
        is_present: bool,
        /// Keep alive in force.
        keep_alive_s: u16,
        /// Further properties.
        extra: Option<Box<ConnackExtra>>,
    },
    /// A refusing CONNACK.
    Refuse {
        /// The connection.
        conn: ConnId,
        /// Reason code for 5.0.
        reason: u8,
        /// Return code for 3.x; 0 closes without CONNACK.
        return_code: u8,
        /// Further properties.
        extra: Option<Box<ConnackExtra>>,
    },
    /// An AUTH packet.
    Challenge {
        /// The connection.
        conn: ConnId,
        /// 0x18 or 0x00.
        reason: u8,
        /// Method, data and the like.
        extra: Box<ConnackExtra>,
    },
    /// Answer of a SUBSCRIBE; `None` grants what was asked.
    Grant {
        /// The connection.
        conn: ConnId,
        /// Packet id that is answered.
        packet_id: u16,
        /// A code per filter.
        codes: Option<Vec<u8>>,
    },
    /// Answer of an UNSUBSCRIBE.
    Release {
        /// The connection.
        conn: ConnId,
        /// Packet id that is answered.
        packet_id: u16,
    },
    /// Answer of a PUBLISH that waits for an access step.
    Authorize {
        /// The connection.
        conn: ConnId,
        /// The verdict.
        is_allowed: bool,
        /// Whether it may be kept for the next publications.
        is_kept: bool,
    },
    /// List the verdicts that a connection keeps.
    ShowVerdicts {
        /// The connection.
        conn: ConnId,
        /// Where they go; nobody listens any more if it is full.
        into: std::sync::mpsc::SyncSender<Vec<KeptVerdict>>,
    },
    /// End a connection.
    Disconnect {
        /// The connection.
        conn: ConnId,
        /// Reason code for 5.0; 0 sends no DISCONNECT.
        reason: u8,
        /// Why, for the event.
        cause: Cause,
    },
    /// Another keep alive than was agreed; silence counts from now.
    KeepAlive {
        /// The connection.
        conn: ConnId,
        /// Keep alive in force; 0 none.
        keep_alive_s: u16,
    },
    /// Send a connection more when its limits allow it.
    Pump {
        /// The connection.
        conn: ConnId,
        /// When.
        at_ms: u64,
    },
    /// The earliest delayed message changed.
    Delay,
    /// Stop: no more accepts, DISCONNECT to all, flush for at most `drain_ms`.
    Stop {
        /// Reason code for 5.0 clients.
        reason: u8,
        /// Time to flush.
        drain_ms: u64,
    },
}
