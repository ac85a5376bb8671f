//! Intake: bytes from the socket, packets from the bytes, and each packet to what handles it.

use std::os::fd::AsFd;
use std::sync::Arc;

use pybroker_core::codec::{Auth, Disconnect, Packet, Version};
use pybroker_core::reason::ReasonCode;

use crate::connection::{Connection, Holder, Pending, Phase, Verdict};
use crate::counters::Metric;
use crate::events::{Cause, Event, FilterRequest};
use crate::outbox::HARD_MARK;
use crate::receipts::ReceiptKind;
use crate::shard::{READ_BYTES, Shard};
use crate::sys::{self, Transfer};
use crate::transport::layers::LayerStatus;
use crate::transport::proxy::{self, ProxyOutcome};

/// Partial input up to this size is copied before the next read; more is read in place.
const COPIED_INPUT: usize = 4096;
/// Longest PROXY header: version 2 with its type-length-values.
const MAX_PROXY_BYTES: usize = 16 + 65_535;

impl Shard {
    /// Reads a socket once (again only to see its end) and processes what came.
    pub(crate) fn read(&mut self, conn: &mut Connection) -> Verdict {
        loop {
            if conn.is_held_back(self.now_ms()) {
                conn.has_unread = true;
                self.mute(conn);
                return Verdict::Hold;
            }
            let before = conn.has_unread;
            conn.has_unread = false;
            if before && conn.phase != Phase::Lingering {
                let verdict = if conn.input.is_empty() { Verdict::Continue } else { self.process_input(conn) };
                if verdict != Verdict::Continue {
                    return verdict;
                }
                if has_layers(conn) && has_closed_layers(conn) {
                    return Verdict::Close { cause: Cause::Tcp, reason: 0 };
                }
            }
            let (transfer, verdict) = self.receive(conn);
            match transfer {
                Transfer::Bytes(n) => {
                    if verdict != Verdict::Continue {
                        conn.has_unread = true;
                        return verdict;
                    }
                    if n >= READ_BYTES {
                        conn.has_unread = true;
                        return Verdict::Continue;
                    }
                    if !conn.is_hung_up {
                        return Verdict::Continue;
                    }
                }
                Transfer::WouldBlock => return verdict,
                Transfer::Eof | Transfer::Broken => {
                    return Verdict::Close { cause: Cause::Tcp, reason: 0 };
                }
            }
        }
    }

    /// One `recv` and what follows from it.
    fn receive(&mut self, conn: &mut Connection) -> (Transfer, Verdict) {
        let is_plain = !matches!(conn.phase, Phase::Lingering | Phase::Proxy) && !has_layers(conn);
        if is_plain && conn.input.len() > COPIED_INPUT {
            return self.receive_in_place(conn);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let kept = if is_plain { conn.input.len() } else { 0 };
        let mut outcome = (Transfer::WouldBlock, Verdict::Continue);
        if let Some(space) = buffer.get_mut(kept..kept + READ_BYTES) {
            let transfer = sys::receive(conn.fd.as_fd(), space);
            outcome.0 = transfer;
            if let Transfer::Bytes(n) = transfer {
                conn.heard_ms = self.now_ms();
                self.reads = 1;
                outcome.1 = self.take_bytes(conn, &mut buffer, kept, n);
                self.reads = 0;
            }
        }
        self.buffer = buffer;
        outcome
    }

    /// Reads behind a large partial packet, without moving it.
    fn receive_in_place(&mut self, conn: &mut Connection) -> (Transfer, Verdict) {
        let missing = conn
            .decoder
            .packet_len(&conn.input)
            .ok()
            .flatten()
            .map_or(READ_BYTES, |len| len.saturating_sub(conn.input.len()));
        conn.input.reserve(missing.clamp(READ_BYTES, 4 * READ_BYTES));
        let transfer = sys::receive_into(conn.fd.as_fd(), &mut conn.input);
        if !matches!(transfer, Transfer::Bytes(_)) {
            return (transfer, Verdict::Continue);
        }
        conn.heard_ms = self.now_ms();
        self.reads = 1;
        (transfer, self.process_input(conn))
    }

    /// Sends fresh bytes through the layers, if any, and processes the outcome.
    fn take_bytes(&mut self, conn: &mut Connection, buffer: &mut [u8], kept: usize, n: usize) -> Verdict {
        match conn.phase {
            Phase::Lingering => return Verdict::Continue,
            Phase::Proxy => {
                conn.input.extend_from_slice(buffer.get(..n).unwrap_or_default());
                return self.take_proxy_header(conn);
            }
            _ => {}
        }
        if has_layers(conn) {
            return self.take_layered(conn, buffer.get_mut(..n).unwrap_or_default());
        }
        if let Some(front) = buffer.get_mut(..kept) {
            front.copy_from_slice(conn.input.get(..kept).unwrap_or_default());
        }
        conn.input = Vec::new();
        let bytes = buffer.get(..kept + n).unwrap_or_default();
        let (consumed, verdict) = self.process(conn, bytes);
        if verdict.is_open() {
            conn.input = bytes.get(consumed..).unwrap_or_default().to_vec();
        }
        verdict
    }

    /// Processes input that was kept.
    pub(crate) fn process_input(&mut self, conn: &mut Connection) -> Verdict {
        if conn.phase == Phase::Proxy || conn.phase == Phase::Handshake {
            return Verdict::Continue;
        }
        let mut input = std::mem::take(&mut conn.input);
        let (consumed, verdict) = self.process(conn, &input);
        if verdict.is_open() {
            if consumed == input.len() {
                input = Vec::new();
            } else {
                input.drain(..consumed);
            }
            conn.input = input;
        }
        verdict
    }

    fn take_layered(&mut self, conn: &mut Connection, bytes: &mut [u8]) -> Verdict {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        plain.append(&mut conn.input);
        let mut has_answered = false;
        let outcome = conn.with_link(|link| {
            let layers = link.layers.as_mut()?;
            let before = layers.unsent_bytes();
            let outcome = layers.receive(bytes, &mut plain);
            has_answered = layers.unsent_bytes() > before;
            Some(outcome)
        });
        let is_handshaking = conn.phase == Phase::Handshake;
        let mut verdict = Verdict::Continue;
        match outcome.flatten() {
            Some(Ok(LayerStatus::Handshaking)) => self.flush_layers(conn),
            Some(Ok(status)) => {
                if is_handshaking {
                    conn.phase = Phase::Connect;
                }
                self.flush_layers(conn);
                let (consumed, processed) = self.process(conn, &plain);
                verdict = processed;
                // What was sent before the close and has to wait is still carried out.
                if status == LayerStatus::Closed && verdict == Verdict::Continue {
                    verdict = Verdict::Close { cause: Cause::Tcp, reason: 0 };
                }
                if verdict.is_open() {
                    conn.input.extend_from_slice(plain.get(consumed..).unwrap_or_default());
                }
            }
            Some(Err(error)) => {
                let mut fields = vec![("listener", conn.spec.name.clone()), ("reason", error.to_string())];
                fields.extend(conn.source.map(|peer| ("peer", peer.to_string())));
                self.log(if is_handshaking { 20 } else { 30 }, "transport_failed", fields);
                self.flush_layers(conn);
                verdict = Verdict::Close { cause: Cause::Tcp, reason: 0 };
            }
            None => verdict = Verdict::Close { cause: Cause::Tcp, reason: 0 },
        }
        plain.clear();
        if plain.capacity() <= 4 * READ_BYTES {
            self.plain = plain;
        }
        if has_answered && conn.with_link(|link| link.has_room()) == Some(false) {
            // A peer that does not read the answers is not read either.
            conn.is_stalled = true;
        }
        verdict
    }

    /// Sends what the layers answered (handshake, pong, close).
    fn flush_layers(&mut self, conn: &mut Connection) {
        let out = &mut self.dispatcher.outlet;
        conn.with_link(|link| {
            if link.unsent_bytes() > 0 {
                link.flush(out);
            }
        });
    }

    fn take_proxy_header(&mut self, conn: &mut Connection) -> Verdict {
        match proxy::parse(&conn.input) {
            Ok(ProxyOutcome::NeedMore) if conn.input.len() <= MAX_PROXY_BYTES => Verdict::Continue,
            Ok(ProxyOutcome::Done { consumed, info }) => {
                conn.input.drain(..consumed);
                conn.proxied = Some(Box::new(info));
                conn.deadline_ms = self.now_ms() + conn.spec.idle_timeout_ms;
                conn.phase = if has_layers(conn) { Phase::Handshake } else { Phase::Connect };
                let mut rest = std::mem::take(&mut conn.input);
                if rest.is_empty() {
                    return Verdict::Continue;
                }
                if conn.phase == Phase::Handshake {
                    return self.take_layered(conn, &mut rest);
                }
                conn.input = rest;
                self.process_input(conn)
            }
            Ok(ProxyOutcome::NeedMore) => Verdict::Close { cause: Cause::Tcp, reason: 0 },
            Err(error) => {
                let mut fields = vec![("listener", conn.spec.name.clone()), ("reason", error.to_string())];
                fields.extend(conn.source.map(|peer| ("peer", peer.to_string())));
                self.log(30, "proxy_header_refused", fields);
                Verdict::Close { cause: Cause::Tcp, reason: 0 }
            }
        }
    }

    /// Decodes and handles the packets in `bytes`. Returns how many bytes are done with.
    fn process(&mut self, conn: &mut Connection, bytes: &[u8]) -> (usize, Verdict) {
        self.dispatcher.outlet.tally.enter(conn.namespace());
        self.refused = 0;
        let mut at = 0;
        let mut verdict = Verdict::Continue;
        let mut packets = 0;
        let mut messages = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if let Some((taken, n)) = self.take_receipts(conn, rest) {
                at += taken;
                packets += n;
                continue;
            }
            match conn.decoder.decode(rest) {
                Ok(None) => break,
                Ok(Some((packet, used))) => {
                    let is_message = matches!(packet, Packet::Publish(_));
                    let (taken, n, outcome) = self.take_packets(conn, packet, rest, used);
                    at += taken;
                    packets += n;
                    messages += if is_message { n } else { 0 };
                    verdict = outcome;
                    if verdict != Verdict::Continue || self.has_refused_enough() {
                        break;
                    }
                }
                Err(error) => {
                    verdict = self.on_fault(conn, error);
                    break;
                }
            }
        }
        self.settle_receipts(conn);
        self.note_received(conn, at, packets, messages);
        if let Some(gate) = conn.gate() {
            gate.settle();
        }
        self.answer(conn);
        self.dispatcher.outlet.tally.enter(None);
        (at, self.rest_after_refusals(conn, verdict))
    }

    /// Handles the packet that `bytes` begin with, and those behind it that make a series with it. Returns the bytes and
    /// the number of packets that are done with.
    fn take_packets(
        &mut self,
        conn: &mut Connection,
        packet: Packet<'_>,
        bytes: &[u8],
        used: usize,
    ) -> (usize, u64, Verdict) {
        if let Packet::Publish(publish) = &packet
            && conn.phase == Phase::Open
            && let Some(done) = self.on_series(conn, publish, bytes, used)
        {
            return done;
        }
        let frame = bytes.get(..used).unwrap_or_default();
        self.trace_received(conn, &packet);
        let mut verdict = self.on_packet(conn, packet, frame);
        if verdict == Verdict::Continue {
            verdict = self.charge(conn, used, matches!(frame.first(), Some(first) if first >> 4 == 3));
        }
        (used, 1, verdict)
    }

    fn note_received(&mut self, conn: &mut Connection, bytes: usize, packets: u64, messages: u64) {
        self.dispatcher.outlet.tally.add(Metric::BytesReceived, bytes as u64);
        self.dispatcher.outlet.tally.add(Metric::PacketsReceived, packets);
        let reads = std::mem::take(&mut self.reads);
        conn.with_link(|link| {
            link.traffic.reads += reads;
            link.traffic.received_bytes += bytes as u64;
            link.traffic.received_packets += packets;
            link.traffic.received_messages += messages;
        });
    }

    /// Appends the acknowledgements of this batch behind what the client has been sent, and lists it for the flush.
    pub(crate) fn answer(&mut self, conn: &mut Connection) {
        self.open_qos1 = 0;
        if self.acks.is_empty() {
            return;
        }
        let acks = std::mem::take(&mut self.acks);
        let mut is_stalled = false;
        match &mut conn.holder {
            Holder::Session(session) => {
                let session = Arc::clone(session);
                let mut state = session.lock();
                if let Some(link) = state.link.as_deref_mut().filter(|link| link.conn == conn.id) {
                    link.outbox.append(&mut self.dispatcher.outlet.pool, &acks);
                    if !link.has_room() {
                        // Only a socket that refuses more reports when there is room again.
                        link.flush(&mut self.dispatcher.outlet);
                        is_stalled = !link.has_room();
                    }
                }
                self.dispatcher.mark_dirty(&session, &mut state);
            }
            Holder::Own(link) => {
                link.outbox.append(&mut self.dispatcher.outlet.pool, &acks);
                link.flush(&mut self.dispatcher.outlet);
            }
            Holder::Nobody => {}
        }
        conn.is_stalled = is_stalled;
        self.acks = acks;
        self.acks.clear();
    }

    fn on_packet(&mut self, conn: &mut Connection, packet: Packet<'_>, frame: &[u8]) -> Verdict {
        if !matches!(packet, Packet::Puback(_) | Packet::Pubrec(_) | Packet::Pubrel(_) | Packet::Pubcomp(_)) {
            self.settle_receipts(conn);
        }
        match (conn.phase, packet) {
            (Phase::Open, Packet::Publish(publish)) => self.on_publish(conn, &publish, frame),
            (Phase::Open, Packet::Puback(ack)) => self.on_receipt(conn, ReceiptKind::Puback, &ack),
            (Phase::Open, Packet::Pubrec(ack)) => self.on_receipt(conn, ReceiptKind::Pubrec, &ack),
            (Phase::Open, Packet::Pubrel(ack)) => self.on_receipt(conn, ReceiptKind::Pubrel, &ack),
            (Phase::Open, Packet::Pubcomp(ack)) => self.on_receipt(conn, ReceiptKind::Pubcomp, &ack),
            (Phase::Open, Packet::Pingreq) => {
                self.dispatcher.outlet.tally.count(Metric::PingreqReceived);
                self.acks.extend_from_slice(&pybroker_core::codec::PINGRESP);
                self.count_sent(Metric::PingrespSent);
                Verdict::Continue
            }
            (Phase::Open, Packet::Subscribe(subscribe)) => self.on_subscribe(conn, &subscribe),
            (Phase::Open, Packet::Unsubscribe(unsubscribe)) => {
                self.dispatcher.outlet.tally.count(Metric::UnsubscribeReceived);
                let filters: Vec<Box<str>> = unsubscribe.filters.iter().map(Box::from).collect();
                let packet_id = unsubscribe.packet_id;
                conn.pending = Some(Box::new(Pending::Unsubscribe { packet_id, filters: filters.clone() }));
                self.ask(conn, |conn, session| Event::Unsubscribe { conn, session, packet_id, filters })
            }
            (Phase::Open | Phase::Authenticating, Packet::Disconnect(disconnect)) => {
                self.on_disconnect(conn, &disconnect)
            }
            (Phase::Open | Phase::Authenticating, Packet::Auth(auth)) => self.on_auth(conn, &auth),
            (Phase::Connect, Packet::Connect(connect)) => self.on_connect(conn, &connect),
            // [MQTT5-3.1.0-1] [MQTT3-3.1.0-1]: the first packet is not CONNECT.
            (Phase::Connect, _) => Verdict::Close { cause: Cause::Protocol, reason: 0 },
            // [MQTT5-3.1.0-2] [MQTT3-3.1.0-2]: a second CONNECT, or a packet that has no place here.
            _ => Verdict::protocol(ReasonCode::ProtocolError),
        }
    }

    /// Holds the connection's input and puts a question to Python.
    pub(crate) fn ask(
        &mut self,
        conn: &mut Connection,
        event: impl FnOnce(crate::link::ConnId, u32) -> Event,
    ) -> Verdict {
        conn.phase = if conn.phase.is_connected() { Phase::Waiting } else { Phase::Deciding };
        conn.deadline_ms = 0;
        let session = conn.session().map_or(u32::MAX, |session| session.id.0);
        self.events.push(event(conn.id, session));
        Verdict::Hold
    }

    /// Counts a packet that goes out with the acknowledgements.
    pub(crate) fn count_sent(&mut self, metric: Metric) {
        self.dispatcher.outlet.tally.count(metric);
        self.dispatcher.outlet.tally.count(Metric::PacketsSent);
    }

    fn on_subscribe(&mut self, conn: &mut Connection, subscribe: &pybroker_core::codec::Subscribe<'_>) -> Verdict {
        self.dispatcher.outlet.tally.count(Metric::SubscribeReceived);
        let max_levels = self.dispatcher.outlet.settings.max_topic_levels;
        let is_bridge = conn.terms.as_ref().is_some_and(|terms| terms.is_bridge);
        let mut requests = Vec::new();
        let mut filters = Vec::new();
        for (filter, asked) in subscribe.filters.iter() {
            let mut request = FilterRequest::new(filter, asked, max_levels);
            if request.kind == 1 && asked.no_local {
                return Verdict::protocol(ReasonCode::ProtocolError); // [MQTT5-3.8.3-4]
            }
            if request.reason != 0 && conn.version() == Version::V31 {
                // 3.1 has no code for a failed filter, and granting it would be a lie. [MQTT3-3.9.3-2]
                return Verdict::protocol(ReasonCode::TopicFilterInvalid);
            }
            request.options |= u8::from(is_bridge) << 3;
            filters.push((request.filter.clone(), request.options, request.reason));
            requests.push(request);
        }
        let packet_id = subscribe.packet_id;
        if !self.admits_subscribe(conn) {
            self.refuse_subscribe(conn, packet_id, requests.len());
            return Verdict::Continue;
        }
        let subscription_id = subscribe.subscription_id.unwrap_or(0);
        conn.pending = Some(Box::new(Pending::Subscribe { packet_id, subscription_id, filters }));
        self.ask(conn, |conn, session| Event::Subscribe {
            conn,
            session,
            packet_id,
            subscription_id,
            filters: requests,
        })
    }

    fn on_disconnect(&mut self, conn: &mut Connection, disconnect: &Disconnect<'_>) -> Verdict {
        self.dispatcher.outlet.tally.count(Metric::DisconnectReceived);
        let has_expiry = conn.terms.as_ref().is_some_and(|terms| terms.has_expiry);
        if !has_expiry && disconnect.session_expiry_s.is_some_and(|s| s > 0) {
            return Verdict::protocol(ReasonCode::ProtocolError); // MQTT 5.0, 3.14.2.2.2
        }
        if let Some(terms) = conn.terms.as_mut() {
            terms.final_expiry_s = disconnect.session_expiry_s;
        }
        let cause = if disconnect.reason == ReasonCode::Success { Cause::Normal } else { Cause::WithWill };
        Verdict::Close { cause, reason: 0 }
    }

    fn on_auth(&mut self, conn: &mut Connection, auth: &Auth<'_>) -> Verdict {
        self.dispatcher.outlet.tally.count(Metric::AuthReceived);
        let agreed = conn.terms.as_ref().and_then(|terms| terms.method.as_deref());
        // [MQTT5-4.12.0-5] [MQTT5-4.12.0-7]: no method was agreed, or another one.
        if agreed.is_none() || auth.authentication_method != agreed {
            return Verdict::protocol(ReasonCode::ProtocolError);
        }
        let expected = if conn.phase == Phase::Authenticating {
            ReasonCode::ContinueAuthentication
        } else {
            ReasonCode::ReAuthenticate
        };
        let is_exchange = conn.terms.as_ref().is_some_and(|terms| terms.is_reauthenticating);
        if auth.reason != expected && !(is_exchange && auth.reason == ReasonCode::ContinueAuthentication) {
            return Verdict::protocol(ReasonCode::ProtocolError);
        }
        let method = Box::from(auth.authentication_method.unwrap_or_default());
        let data = Box::from(auth.authentication_data.unwrap_or_default());
        let reason = auth.reason as u8;
        self.ask(conn, |conn, session| Event::Auth { conn, session, reason, method, data })
    }

    /// Runs `act` on the session's state, if this connection still holds it.
    pub(crate) fn with_window<T>(
        &mut self,
        conn: &Connection,
        act: impl FnOnce(&mut Self, &Arc<crate::session::Session>, &mut crate::session::State) -> T,
    ) -> Option<T> {
        let session = conn.session()?;
        let mut state = session.lock();
        if state.link.as_ref().is_none_or(|link| link.conn != conn.id) {
            return None;
        }
        Some(act(self, session, &mut state))
    }

    /// Sends on what an acknowledgement made room for.
    pub(crate) fn pump(&mut self, session: &Arc<crate::session::Session>, state: &mut crate::session::State) {
        if session.pump(state, &mut self.dispatcher.outlet, &self.hub.retained) {
            self.dispatcher.mark_dirty(session, state);
        }
    }

    /// Puts an acknowledgement behind the others of this batch.
    pub(crate) fn acknowledge(&mut self, conn: &Connection, packet: &Packet<'_>) {
        self.put_answer(conn, packet);
        self.bound_answers(conn);
    }

    /// The same while the session is locked; `bound_answers` follows when it is not any more.
    pub(crate) fn put_answer(&mut self, conn: &Connection, packet: &Packet<'_>) {
        let metric = match packet {
            Packet::Puback(_) => Metric::PubackSent,
            Packet::Pubrec(_) => Metric::PubrecSent,
            Packet::Pubrel(_) => Metric::PubrelSent,
            _ => Metric::PubcompSent,
        };
        pybroker_core::codec::encode(&mut self.acks, conn.version(), packet);
        self.count_sent(metric);
    }

    /// Hands over the answers of a batch before its end when there are very many.
    pub(crate) fn bound_answers(&mut self, conn: &Connection) {
        if self.acks.len() <= HARD_MARK {
            return;
        }
        let acks = std::mem::take(&mut self.acks);
        self.with_window(conn, |shard, _, state| {
            if let Some(link) = state.link.as_deref_mut() {
                link.outbox.append(&mut shard.dispatcher.outlet.pool, &acks);
                link.flush(&mut shard.dispatcher.outlet);
            }
        });
    }

    /// Ends a connection whose bytes are no packet.
    fn on_fault(&mut self, conn: &mut Connection, error: pybroker_core::error::DecodeError) -> Verdict {
        let fields = vec![
            ("listener", conn.spec.name.clone()),
            ("peer", conn.source.map_or_else(String::new, |peer| peer.to_string())),
            ("client_id", conn.session().map_or_else(String::new, |session| session.client_id.to_string())),
            ("reason", error.to_string()),
        ];
        self.log(20, "packet_refused", fields);
        if conn.phase.is_connected() || conn.phase == Phase::Authenticating {
            let is_quota = error.reason() == ReasonCode::PacketTooLarge;
            let cause = if is_quota { Cause::Quota } else { Cause::Protocol };
            return Verdict::Close { cause, reason: error.reason() as u8 };
        }
        if let Some((version, reason)) = error.connack(conn.decoder.version()) {
            self.refuse_now(conn, version, reason as u8, reason.return_code(), None);
        }
        Verdict::Close { cause: Cause::Protocol, reason: 0 }
    }
}

fn has_layers(conn: &Connection) -> bool {
    conn.spec.tls.is_some() || conn.spec.websocket.is_some()
}

fn has_closed_layers(conn: &mut Connection) -> bool {
    conn.with_link(|link| link.layers.as_ref().is_some_and(|layers| layers.is_closed())).unwrap_or(false)
}
