//! New connections: which listeners a shard watches, whom it admits, and which shard serves them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::command::Command;
use crate::connection::Connection;
use crate::events::Cause;
use crate::link::Link;
use crate::listener::Listener;
use crate::shard::{Due, LISTENER_BIT, Shard};
use crate::transport::layers::Layers;
use crate::transport::tls::TlsSession;
use crate::transport::websocket::WsSession;

/// Connections accepted per listener and turn.
const ACCEPT_BATCH: usize = 64;
/// Pause of a listener after the system refused a descriptor.
const ACCEPT_PAUSE_MS: u64 = 100;

impl Shard {
    pub(crate) fn accept_from(&mut self, id: u32) {
        let Some(listener) = self.listeners.get(&id).cloned() else {
            return;
        };
        for _ in 0..ACCEPT_BATCH {
            if !listener.is_open() {
                return;
            }
            let wait_ms = listener.accept_in_ms(self.now_ms());
            if wait_ms > 0 {
                return self.pause_listener(&listener, wait_ms);
            }
            match listener.accept(self.now_ms()) {
                Ok((fd, source)) => self.admit(&listener, fd, source),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    self.log(
                        40,
                        "accept_failed",
                        vec![("listener", listener.spec().name.clone()), ("reason", error.to_string())],
                    );
                    return self.pause_listener(&listener, ACCEPT_PAUSE_MS);
                }
            }
        }
    }

    fn pause_listener(&mut self, listener: &Listener, wait_ms: u64) {
        self.poller.remove(listener.as_fd());
        self.fine.schedule(self.now_ms() + wait_ms, Due::Listen(listener.id));
    }

    fn admit(&mut self, listener: &Arc<Listener>, fd: OwnedFd, source: Option<SocketAddr>) {
        if let Err(refusal) = listener.admit(source) {
            let peer = source.map_or_else(String::new, |source| source.to_string());
            let reason = format!("{refusal:?}").to_lowercase();
            self.log(
                30,
                "connection_refused",
                vec![("listener", listener.spec().name.clone()), ("peer", peer), ("reason", reason)],
            );
            return;
        }
        let target = self.hub.place(self.index);
        if let Some(load) = self.hub.loads.get(target) {
            load.fetch_add(1, Ordering::Relaxed);
        }
        if target == self.index {
            self.adopt(Arc::clone(listener), fd, source);
        } else if let Some(mailbox) = self.hub.shards.get(target) {
            mailbox.push(Command::Adopt { fd, listener: Arc::clone(listener), source });
        }
    }

    pub(crate) fn adopt(&mut self, listener: Arc<Listener>, fd: OwnedFd, source: Option<SocketAddr>) {
        let id = self.reserve();
        let spec = listener.spec();
        let tls = match spec.tls.as_ref().map(TlsSession::new).transpose() {
            Ok(tls) => tls,
            Err(error) => {
                self.log(
                    40,
                    "tls_failed",
                    vec![("listener", listener.spec().name.clone()), ("reason", error.to_string())],
                );
                None
            }
        };
        let websocket = spec.websocket.as_ref().map(|settings| WsSession::new(Arc::clone(settings)));
        let fd = Arc::new(fd);
        let link = Box::new(Link::new(id, Arc::clone(&fd), Layers::new(tls, websocket)));
        let told = self.dispatcher.outlet.settings.max_packet_bytes;
        let max_packet_bytes = spec.zone.max_packet_bytes.unwrap_or(told);
        let mut conn =
            Box::new(Connection::new(id, fd, (listener, spec), source, link, max_packet_bytes, self.now_ms()));
        if let Err(error) = self.poller.add_socket(conn.fd.as_fd(), id.0) {
            self.log(40, "connection_failed", vec![("reason", error.to_string())]);
            self.forget(&conn);
            return;
        }
        self.schedule(&mut conn);
        self.put(conn);
    }

    pub(crate) fn listen(&mut self, listener: Arc<Listener>) {
        if self.is_stopping || !listener.is_open() {
            return;
        }
        if let Err(error) = self.poller.add_listener(listener.as_fd(), LISTENER_BIT | u64::from(listener.id)) {
            self.log(
                40,
                "listen_failed",
                vec![("listener", listener.spec().name.clone()), ("reason", error.to_string())],
            );
            return;
        }
        self.listeners.insert(listener.id, listener);
    }

    pub(crate) fn unlisten(&mut self, id: u32, reason: Option<u8>) {
        if let Some(listener) = self.listeners.remove(&id) {
            self.poller.remove(listener.as_fd());
        }
        if let Some(reason) = reason {
            for conn in self.taken(|conn| conn.listener.id == id) {
                self.close(conn, Cause::Listener, reason, None);
            }
        }
    }
}
