//! Byte transformers between a socket and the MQTT codec: TLS, WebSocket and the PROXY protocol header.
//!
//! All of them are sans-IO: bytes come in as slices, bytes go out into the caller's buffers, nothing here owns a
//! socket, a thread or a timer. So a shard needs one `recv` and one `send` per connection and turn whatever the
//! layering is, idle connections keep no buffers, and every parser runs under a fuzzer as it is.

pub mod acceptor;
pub mod certificate;
pub mod layers;
pub mod proxy;
pub mod tls;
pub mod upgrade;
pub mod websocket;
