//! The engine: shards that own sockets, and the state they share.

pub mod transport;
