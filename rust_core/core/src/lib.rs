//! The sans-IO heart of the broker: bytes in, decisions about bytes out.
//!
//! Nothing here reads a clock, opens a socket, starts a thread or logs; time comes in as an argument.
#![forbid(unsafe_code)]

pub mod acl;
pub mod codec;
pub mod error;
pub mod message;
pub mod mountpoint;
pub mod reason;
pub mod retained;
pub mod route;
pub mod session;
pub mod topic;
pub mod trie;
