//! A broker for tests: an engine with threads, a loop that answers its events in the simplest way, raw clients.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pybroker_core::codec::{self, Connect, Decoder, Packet, PublishOut, QoS, Role, SubscribeFilters, Version};
use pybroker_core::codec::{PacketType, Subscribe, SubscribeOptions, UserProperties};
use pybroker_core::reason::ReasonCode;
use pybroker_core::trie::SubscriberId;
use pybroker_engine::command::Command;
use pybroker_engine::engine::Engine;
use pybroker_engine::events::Event;
use pybroker_engine::listener::{Bind, ListenerSpec, ZoneTerms};
use pybroker_engine::session::Session;

/// How long a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Broker {
    pub engine: Arc<Engine>,
    address: String,
    is_over: Arc<AtomicBool>,
    answering: Option<JoinHandle<()>>,
}

pub fn spec() -> ListenerSpec {
    ListenerSpec {
        name: "tcp:test".to_owned(),
        bind: Bind::Tcp(([127, 0, 0, 1], 0).into()),
        backlog: 128,
        is_nodelay: true,
        keepalive: None,
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

impl Broker {
    /// Starts an engine whose CONNECTs are accepted by `mountpoint_of` their client id.
    pub fn start(io_threads: usize, mountpoint_of: fn(&str) -> &'static str) -> Self {
        let engine = Arc::new(Engine::new(io_threads).expect("an engine"));
        engine.start().expect("threads");
        let address = engine.open_listener(spec()).expect("a listener").address.clone();
        let is_over = Arc::new(AtomicBool::new(false));
        let (served, ending) = (Arc::clone(&engine), Arc::clone(&is_over));
        let answering = std::thread::spawn(move || {
            let mut sessions = HashMap::new();
            while !ending.load(Ordering::Relaxed) {
                for event in served.hub.events.take(100) {
                    answer(&served, &mut sessions, mountpoint_of, event);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { engine, address, is_over, answering: Some(answering) }
    }

    pub fn socket(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.address).expect("a connection");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_nodelay(true).expect("no delay");
        socket
    }

    pub fn client(&self, client_id: &str, is_clean_start: bool) -> Client {
        self.client_speaking(Version::V311, client_id, is_clean_start)
    }

    pub fn client_speaking(&self, version: Version, client_id: &str, is_clean_start: bool) -> Client {
        let mut client = Client::speaking(version, self.socket());
        let connect = Connect { is_clean_start, ..Connect::new(version, client_id) };
        client.send_with(|out| codec::encode_connect(out, &connect));
        assert!(matches!(client.next_packet(), Received::Connack { reason: 0 }), "the client is accepted");
        client
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.engine.shutdown(0x8B, 1_000);
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(answering) = self.answering.take() {
            answering.join().expect("the answering thread ends");
        }
    }
}

fn answer(
    engine: &Engine,
    sessions: &mut HashMap<Box<str>, SubscriberId>,
    mountpoint_of: fn(&str) -> &'static str,
    event: Event,
) {
    match event {
        Event::Connect { conn, info } => {
            let known = sessions.get(&info.client_id).copied();
            if let Some(old) = known.filter(|_| info.is_clean_start) {
                engine.drop_session(old);
            }
            let kept = known.filter(|_| !info.is_clean_start);
            let id = kept.unwrap_or_else(|| engine.create_session(&info.client_id, mountpoint_of(&info.client_id), ""));
            sessions.insert(info.client_id.clone(), id);
            let session: Arc<Session> = engine.hub.session(id).expect("the session exists");
            let claim = session.claim();
            let (is_present, keep_alive_s) = (kept.is_some(), info.keep_alive_s);
            engine.command(conn, Command::Accept { conn, session, claim, is_present, keep_alive_s, extra: None });
        }
        Event::Subscribe { conn, packet_id, .. } => {
            engine.command(conn, Command::Grant { conn, packet_id, codes: None });
        }
        Event::Unsubscribe { conn, packet_id, .. } => engine.command(conn, Command::Release { conn, packet_id }),
        _ => {}
    }
}

/// What a client received, without borrowing its buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Connack {
        reason: u8,
    },
    Publish {
        topic: String,
        payload: Vec<u8>,
        packet_id: u16,
        is_retain: bool,
    },
    Suback,
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack(PacketType, u16, ReasonCode),
    Other,
    Closed,
    /// Nothing came within the socket's time-out.
    Silence,
}

pub struct Client {
    pub socket: TcpStream,
    version: Version,
    decoder: Decoder,
    input: Vec<u8>,
}

impl Client {
    pub fn over(socket: TcpStream) -> Self {
        Self::speaking(Version::V311, socket)
    }

    pub fn speaking(version: Version, socket: TcpStream) -> Self {
        Self { socket, version, decoder: Decoder::with_version(Role::Client, version, u32::MAX), input: Vec::new() }
    }

    pub fn send_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        write(&mut out);
        self.socket.write_all(&out).expect("the broker reads");
    }

    pub fn subscribe(&mut self, filter: &str, qos: QoS) {
        let mut filters = Vec::new();
        SubscribeFilters::encode(&mut filters, filter, SubscribeOptions { qos, ..SubscribeOptions::default() });
        let subscribe = Subscribe {
            packet_id: 1,
            subscription_id: None,
            user_properties: UserProperties::default(),
            filters: SubscribeFilters::new(&filters),
        };
        let version = self.version;
        self.send_with(|out| codec::encode_subscribe(out, version, &subscribe));
    }

    pub fn publish(&mut self, topic: &str, payload: &[u8], is_retain: bool) {
        let publish = PublishOut { topic, payload, is_retain, ..PublishOut::default() };
        let version = self.version;
        self.send_with(|out| codec::encode_publish(out, version, &publish));
    }

    /// Publishes in one write: topic, payload and QoS of each; packet ids count from 1.
    pub fn publish_all<'a>(&mut self, publications: impl IntoIterator<Item = (&'a str, Vec<u8>, QoS)>) {
        let version = self.version;
        self.send_with(|out| {
            for ((topic, payload, qos), n) in publications.into_iter().zip(1..) {
                let packet_id = if qos == QoS::AtMostOnce { 0 } else { n };
                let publish = PublishOut { topic, payload: &payload, qos, packet_id, ..PublishOut::default() };
                codec::encode_publish(out, version, &publish);
            }
        });
    }

    pub fn next_packet(&mut self) -> Received {
        loop {
            if let Some((packet, used)) = self.decoder.decode(&self.input).expect("the broker sends packets") {
                let received = match packet {
                    Packet::Connack(connack) => Received::Connack { reason: connack.reason.return_code() },
                    Packet::Publish(publish) => Received::Publish {
                        topic: publish.topic.to_owned(),
                        payload: publish.payload.to_vec(),
                        packet_id: publish.packet_id,
                        is_retain: publish.is_retain,
                    },
                    Packet::Suback(_) => Received::Suback,
                    Packet::Puback(ack) => Received::Ack(PacketType::Puback, ack.packet_id, ack.reason),
                    Packet::Pubrec(ack) => Received::Ack(PacketType::Pubrec, ack.packet_id, ack.reason),
                    Packet::Pubrel(ack) => Received::Ack(PacketType::Pubrel, ack.packet_id, ack.reason),
                    Packet::Pubcomp(ack) => Received::Ack(PacketType::Pubcomp, ack.packet_id, ack.reason),
                    _ => Received::Other,
                };
                self.input.drain(..used);
                return received;
            }
            let mut buffer = vec![0; 64 * 1024];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Received::Closed,
                Ok(n) => self.input.extend_from_slice(&buffer[..n]),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Received::Silence;
                }
                Err(error) => panic!("the connection fails: {error}"),
            }
        }
    }
}
