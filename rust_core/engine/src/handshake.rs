//! CONNECT and what Python answers to it: CONNACK, attachment to a session, AUTH exchanges.

use std::net::SocketAddr;
use std::sync::Arc;

use pybroker_core::codec::alias::InboundAliases;
use pybroker_core::codec::{Auth, Connack, ConnackProperties, Connect, Packet, Property, QoS, UserProperties, Version};
use pybroker_core::reason::ReasonCode;
use pybroker_core::topic;

use crate::connection::{Connection, Holder, Phase, Terms, Verdict};
use crate::counters::Metric;
use crate::events::{Cause, ConnectInfo, Event, PeerInfo, WillMessage};
use crate::gate::Throttle;
use crate::link::{ConnId, Link};
use crate::listener::ZoneTerms;
use crate::session::Session;
use crate::shard::Shard;

/// Properties that Python adds to CONNACK or AUTH.
#[derive(Debug, Default, Clone)]
pub struct ConnackExtra {
    /// Client id that the broker chose.
    pub assigned_client_id: Option<Box<str>>,
    /// Keep alive that the client must use.
    pub server_keep_alive_s: Option<u16>,
    /// Session expiry in force, where it is not what the client asked for.
    pub session_expiry_s: Option<u32>,
    /// Reason for people.
    pub reason_string: Option<Box<str>>,
    /// Response information.
    pub response_information: Option<Box<str>>,
    /// Another server.
    pub server_reference: Option<Box<str>>,
    /// User properties, encoded.
    pub user_properties: Vec<u8>,
    /// Authentication method.
    pub authentication_method: Option<Box<str>>,
    /// Authentication data.
    pub authentication_data: Option<Box<[u8]>>,
}

impl ConnackExtra {
    /// Adds a user property behind the others.
    pub fn add_user_property(&mut self, name: &str, value: &str) {
        Property::user(name, value).encode(&mut self.user_properties);
    }
}

impl Shard {
    pub(crate) fn on_connect(&mut self, conn: &mut Connection, connect: &Connect<'_>) -> Verdict {
        self.dispatcher.outlet.tally.count(Metric::ConnectReceived);
        let version = connect.version;
        let settings = &self.dispatcher.outlet.settings;
        let zone = &conn.spec.zone;
        let fault = connect.will.as_ref().and_then(|will| {
            if will.is_retain && !zone.is_retain_available.unwrap_or(settings.is_retain_available) {
                Some(ReasonCode::RetainNotSupported) // [MQTT5-3.2.2-13]
            } else if will.qos > zone.max_qos.unwrap_or(settings.max_qos) {
                Some(ReasonCode::QosNotSupported) // [MQTT5-3.2.2-12]
            } else if topic::validate_topic(will.topic, settings.max_topic_levels).is_err() {
                Some(ReasonCode::TopicNameInvalid) // [MQTT5-3.1.3-11]
            } else {
                None
            }
        });
        let properties = &connect.properties;
        conn.terms = Some(Box::new(Terms {
            receive_maximum: properties.receive_maximum,
            max_packet_bytes: properties.max_packet_bytes.unwrap_or(0),
            topic_alias_maximum: properties.topic_alias_maximum,
            requests_problem_information: properties.requests_problem_information,
            has_expiry: properties.session_expiry_s.unwrap_or(0) > 0,
            method: properties.authentication_method.map(Box::from),
            is_bridge: connect.is_bridge,
            ..Terms::default()
        }));
        if let Some(reason) = fault {
            self.refuse_now(conn, version, reason as u8, 0, None);
            return Verdict::Close { cause: Cause::Protocol, reason: 0 };
        }
        let info = Box::new(Self::connect_info(conn, connect));
        self.ask(conn, |conn, _| Event::Connect { conn, info })
    }

    fn connect_info(conn: &mut Connection, connect: &Connect<'_>) -> ConnectInfo {
        let properties = &connect.properties;
        ConnectInfo {
            version: connect.version,
            client_id: connect.client_id.into(),
            is_clean_start: connect.is_clean_start,
            is_bridge: connect.is_bridge,
            keep_alive_s: connect.keep_alive_s,
            username: connect.username.map(Box::from),
            password: connect.password.map(Box::from),
            will: connect.will.as_ref().map(|will| {
                Arc::new(WillMessage {
                    topic: will.topic.into(),
                    payload: will.payload.into(),
                    qos: will.qos,
                    is_retain: will.is_retain,
                    delay_s: will.delay_s,
                    message_expiry_s: will.message_expiry_s,
                    properties: will.forwardable.bytes().as_ref().into(),
                })
            }),
            session_expiry_s: properties.session_expiry_s.unwrap_or(0),
            receive_maximum: properties.receive_maximum,
            max_packet_bytes: properties.max_packet_bytes.unwrap_or(0),
            topic_alias_maximum: properties.topic_alias_maximum,
            requests_response_information: properties.requests_response_information,
            requests_problem_information: properties.requests_problem_information,
            user_properties: properties
                .user_properties
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            authentication_method: properties.authentication_method.map(Box::from),
            authentication_data: properties.authentication_data.map(Box::from),
            listener: conn.listener.id,
            peer: peer_info(conn),
        }
    }

    /// Answers CONNECT with success and attaches the session; what was unfinished goes out right behind CONNACK.
    pub(crate) fn accept(
        &mut self,
        id: ConnId,
        session: &Arc<Session>,
        claim: u64,
        is_present: bool,
        keep_alive_s: u16,
        extra: Option<&ConnackExtra>,
    ) {
        let Some(mut conn) = self.take(id) else {
            return self.report_stale(id, session);
        };
        if !matches!(conn.phase, Phase::Deciding | Phase::Authenticating) {
            self.report_stale(id, session);
            return self.put(conn);
        }
        let Holder::Own(mut link) = std::mem::replace(&mut conn.holder, Holder::Nobody) else {
            self.report_stale(id, session);
            return self.put(conn);
        };
        self.agree(&mut conn, &mut link, keep_alive_s);
        self.write_connack(&conn.spec.zone, &mut link, is_present, extra);
        conn.mount.clone_from(&session.mount);
        if let Some(namespace) = &session.namespace {
            conn.limit_by(namespace);
            link.throttle = Throttle::new(namespace).map(Box::new);
        }
        conn.holder = Holder::Session(Arc::clone(session));
        conn.phase = Phase::Open;
        self.schedule(&mut conn);
        let is_superseded = {
            let mut state = session.lock();
            if state.is_ended || !session.is_latest(claim) {
                // A later CONNECT has the session already: this one is told what an older connection is told.
                conn.holder = Holder::Own(link);
                true
            } else {
                if let Some(old) = session.attach(&mut state, link) {
                    self.end_taken_over(*old);
                }
                conn.open_qos2 = u16::try_from(state.window.inbound_len()).unwrap_or(u16::MAX);
                session.resume(&mut state, &mut self.dispatcher.outlet);
                session.pump(&mut state, &mut self.dispatcher.outlet, &self.hub.retained);
                self.dispatcher.mark_dirty(session, &mut state);
                false
            }
        };
        if is_superseded {
            return self.close(conn, Cause::TakenOver, ReasonCode::SessionTakenOver as u8, None);
        }
        self.go_on(conn);
    }

    fn report_stale(&mut self, conn: ConnId, session: &Session) {
        self.events.push(Event::Closed {
            conn,
            session: session.id.0,
            cause: Cause::Stale,
            reason: 0,
            session_expiry_s: None,
            sends_will: true,
        });
    }

    /// Sets what CONNECT and the settings agree on.
    fn agree(&mut self, conn: &mut Connection, link: &mut Link, keep_alive_s: u16) {
        let settings = &self.dispatcher.outlet.settings;
        let version = conn.version();
        link.version = version;
        if let Some(terms) = &conn.terms {
            link.receive_maximum = terms.receive_maximum;
            link.max_packet_bytes = terms.max_packet_bytes;
            link.sends_problem_information = terms.requests_problem_information;
            link.set_alias_maximum(terms.topic_alias_maximum);
        }
        let max_alias = conn.spec.zone.max_topic_alias.unwrap_or(settings.max_topic_alias);
        conn.aliases = InboundAliases::new(if version == Version::V5 { max_alias } else { 0 });
        conn.silence_ms = self.silence_ms(conn, keep_alive_s);
        conn.deadline_ms = 0;
        conn.heard_ms = self.now_ms();
    }

    /// How long a client with this keep alive may be silent; 0: for ever.
    pub(crate) fn silence_ms(&self, conn: &Connection, keep_alive_s: u16) -> u64 {
        let told = self.dispatcher.outlet.settings.keepalive_multiplier;
        let multiplier = conn.spec.zone.keepalive_multiplier.unwrap_or(told);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "65,535 s times a small factor")]
        let silence_ms = (f64::from(keep_alive_s) * 1000.0 * multiplier).ceil().max(0.0) as u64;
        match (silence_ms, conn.spec.max_silence_ms) {
            (0, limit) => limit,
            (silence_ms, 0) => silence_ms,
            (silence_ms, limit) => silence_ms.min(limit),
        }
    }

    /// Ends the connection that had the session before. [MQTT5-3.1.4-3] [MQTT3-3.1.4-2]
    fn end_taken_over(&mut self, mut old: Link) {
        let id = old.conn;
        old.say_goodbye(&mut self.dispatcher.outlet, ReasonCode::SessionTakenOver as u8);
        old.flush(&mut self.dispatcher.outlet);
        self.hub.end_connection(id, 0, Cause::TakenOver);
    }

    /// Lets a connection process what it sent meanwhile.
    pub(crate) fn go_on(&mut self, mut conn: Box<Connection>) {
        // Input may wait in the buffer and in the socket: the next turn looks at both.
        conn.has_unread = true;
        self.settle_connection(conn, Verdict::Continue);
    }

    fn write_connack(&mut self, zone: &ZoneTerms, link: &mut Link, is_present: bool, extra: Option<&ConnackExtra>) {
        let settings = Arc::clone(&self.dispatcher.outlet.settings);
        let receive_maximum = zone.receive_maximum.unwrap_or(settings.receive_maximum);
        let limits = ConnackProperties {
            receive_maximum: if receive_maximum == 0 { u16::MAX } else { receive_maximum },
            max_qos: zone.max_qos.unwrap_or(settings.max_qos),
            allows_retain: zone.is_retain_available.unwrap_or(settings.is_retain_available),
            max_packet_bytes: Some(zone.max_packet_bytes.unwrap_or(settings.max_packet_bytes)),
            topic_alias_maximum: zone.max_topic_alias.unwrap_or(settings.max_topic_alias),
            allows_wildcards: zone.is_wildcard_available.unwrap_or(settings.is_wildcard_available),
            allows_shared_subscriptions: zone.is_shared_available.unwrap_or(settings.is_shared_available),
            ..extra.map(connack_properties).unwrap_or_default()
        };
        let connack = Connack { is_session_present: is_present, reason: ReasonCode::Success, properties: limits };
        link.write(&mut self.dispatcher.outlet, &Packet::Connack(Box::new(connack)));
    }

    /// Answers CONNECT with a refusal and ends the connection. Its will is never sent. [MQTT5-3.1.4-1]
    pub(crate) fn refuse(&mut self, id: ConnId, reason: u8, return_code: u8, extra: Option<&ConnackExtra>) {
        let Some(mut conn) = self.take(id) else {
            return;
        };
        if conn.phase.is_connected() || conn.phase == Phase::Lingering {
            return self.put(conn);
        }
        let version = conn.version();
        self.refuse_now(&mut conn, version, reason, return_code, extra);
        conn.phase = Phase::Connect;
        self.close(conn, Cause::Kicked, 0, Some(false));
    }

    /// Writes a refusing CONNACK; session present is 0 in it. [MQTT5-3.2.2-6] [MQTT5-3.2.2-7]
    pub(crate) fn refuse_now(
        &mut self,
        conn: &mut Connection,
        version: Version,
        reason: u8,
        return_code: u8,
        extra: Option<&ConnackExtra>,
    ) {
        let max_packet_bytes = conn.terms.as_ref().map_or(0, |terms| terms.max_packet_bytes);
        let out = &mut self.dispatcher.outlet;
        out.tally.count(Metric::ConnackError);
        conn.with_link(|link| {
            link.version = version;
            link.max_packet_bytes = max_packet_bytes;
            if version != Version::V5 {
                if return_code > 0 {
                    link.write_raw(out, &[0x20, 2, 0, return_code], Metric::ConnackSent);
                }
                return;
            }
            let reason = ReasonCode::try_from(reason).unwrap_or(ReasonCode::UnspecifiedError);
            let properties = extra.map(connack_properties).unwrap_or_default();
            link.write(out, &Packet::Connack(Box::new(Connack { is_session_present: false, reason, properties })));
        });
    }

    /// Sends AUTH; the client's answer is awaited.
    pub(crate) fn challenge(&mut self, id: ConnId, reason: u8, extra: &ConnackExtra) {
        let Some(mut conn) = self.take(id) else {
            return;
        };
        let (Phase::Deciding | Phase::Waiting) = conn.phase else {
            return self.put(conn);
        };
        let reason = ReasonCode::try_from(reason).unwrap_or(ReasonCode::ContinueAuthentication);
        let out = &mut self.dispatcher.outlet;
        conn.with_link(|link| {
            link.version = Version::V5;
            let auth = Auth {
                reason,
                authentication_method: extra.authentication_method.as_deref(),
                authentication_data: extra.authentication_data.as_deref(),
                reason_string: extra.reason_string.as_deref(),
                user_properties: UserProperties::new(&extra.user_properties),
            };
            link.write(out, &Packet::Auth(auth));
            link.flush(out);
        });
        if let Some(terms) = conn.terms.as_mut() {
            terms.is_reauthenticating = conn.phase == Phase::Waiting && reason == ReasonCode::ContinueAuthentication;
        }
        if conn.phase == Phase::Deciding {
            conn.phase = Phase::Authenticating;
            conn.deadline_ms = self.now_ms() + conn.spec.idle_timeout_ms;
            self.schedule(&mut conn);
        } else {
            conn.phase = Phase::Open;
        }
        self.go_on(conn);
    }
}

fn connack_properties(extra: &ConnackExtra) -> ConnackProperties<'_> {
    ConnackProperties {
        assigned_client_id: extra.assigned_client_id.as_deref(),
        server_keep_alive_s: extra.server_keep_alive_s,
        session_expiry_s: extra.session_expiry_s,
        reason_string: extra.reason_string.as_deref(),
        response_information: extra.response_information.as_deref(),
        server_reference: extra.server_reference.as_deref(),
        user_properties: UserProperties::new(&extra.user_properties),
        authentication_method: extra.authentication_method.as_deref(),
        authentication_data: extra.authentication_data.as_deref(),
        max_qos: QoS::ExactlyOnce,
        ..ConnackProperties::default()
    }
}

/// What the transport knows of the peer. TLS and WebSocket facts are moved out, the PROXY header's win.
fn peer_info(conn: &mut Connection) -> PeerInfo {
    let mut info = PeerInfo { peer: conn.source, ..PeerInfo::default() };
    conn.with_link(|link| {
        let Some(layers) = link.layers.as_ref() else {
            return;
        };
        if let Some(tls) = layers.tls() {
            info.certificate = tls.peer();
            info.server_name = tls.server_name().map(str::to_owned);
        }
        if let Some(request) = layers.websocket().and_then(|websocket| websocket.request()) {
            info.websocket_path = Some(request.path.clone());
            info.websocket_cookie.clone_from(&request.cookie);
        }
    });
    if let Some(proxied) = conn.proxied.take() {
        info.peer = proxied.source.map_or(info.peer, |source: SocketAddr| Some(source));
        info.server_name = proxied.authority.or(info.server_name);
        info.proxied_common_name = proxied.ssl.filter(|ssl| ssl.is_verified).and_then(|ssl| ssl.common_name);
    }
    info
}
