//! The engine: shards that own sockets, and the state they share.
//!
//! A PUBLISH walks: `intake` (bytes to packets) -> `authorizing` with `memo` (may it be?) -> `inbound` with `receipts` and
//! `series` (QoS, floods) -> `dispatch` with `cache` (targets) -> `link` and `outbox` (bytes out). Everything else exists to
//! open, decide and end connections. No Python here.

mod accepting;
pub mod access;
mod authorizing;
pub mod cache;
mod closing;
pub mod command;
pub mod connection;
pub mod counters;
pub mod delayed;
pub mod dispatch;
pub mod engine;
pub mod events;
pub mod gate;
pub mod handshake;
pub mod hub;
mod inbound;
pub mod inspect;
mod intake;
pub mod limits;
pub mod link;
pub mod listener;
pub mod mailbox;
pub mod memo;
pub mod namespace;
pub mod namespaces;
pub mod outbox;
mod pausing;
pub mod publication;
pub mod rate;
mod receipts;
pub mod retained;
pub mod retirement;
pub mod revocation;
mod series;
pub mod session;
pub mod settings;
pub mod shard;
pub mod silenced;
pub mod slow;
pub mod subscriptions;
pub mod sys;
pub mod timer;
pub mod trace;
pub mod transport;
