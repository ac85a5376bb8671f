//! What the transport tests share: a TLS client in memory with its certificates, and WebSocket bytes.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod tls;
pub mod websocket;
