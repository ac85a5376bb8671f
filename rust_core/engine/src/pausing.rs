//! Pausing: sockets that are not read for a while, because their limits say so or because what they brought was refused.
//!
//! A publisher over its limit would otherwise cost a wake-up and a read for each message that is refused. It is read in
//! batches instead, and its input wakes nobody in between; every message is still answered or counted.

use std::os::fd::AsFd;

use crate::connection::{Connection, Verdict};
use crate::link::ConnId;
use crate::shard::Shard;

/// A connection that was refused something is not read for so long: what a client sends in it is one read instead of
/// many. Eight messages of a client at a thousand per second, and short beside the way over a mobile network.
/// [decision 0007]
const REFUSAL_PAUSE_MS: u64 = 8;
/// Refusals after which the rest of a read waits for the pause. Not below what a 5.0 client may have open at once
/// (`mqtt.receive_maximum` is 100), so that its answers come together.
const MAX_REFUSALS_PER_READ: usize = 128;
/// Refusals of one turn, by all connections together: about 0.1 ms. Those whose pause is over then wait for the next
/// turn, which looks first at who else has become readable.
const MAX_REFUSALS_PER_TURN: usize = 256;

impl Shard {
    /// Pays for a packet from the client's rate limits; holds the input when they are used up.
    pub(crate) fn charge(&mut self, conn: &mut Connection, bytes: usize, is_message: bool) -> Verdict {
        let now_ms = self.now_ms();
        let Some(buckets) = conn.buckets.as_mut() else {
            return Verdict::Continue;
        };
        let mut wait_ms = buckets.gate.as_ref().map_or(0, |gate| gate.wait_ms(now_ms));
        if let Some(bucket) = buckets.messages.as_mut().filter(|_| is_message) {
            bucket.take(1.0, now_ms);
            wait_ms = wait_ms.max(bucket.wait_ms());
        }
        if let Some(bucket) = buckets.bytes.as_mut() {
            #[allow(clippy::cast_precision_loss, reason = "a packet is far smaller than 2^52 bytes")]
            bucket.take(bytes as f64, now_ms);
            wait_ms = wait_ms.max(bucket.wait_ms());
        }
        if wait_ms == 0 {
            return Verdict::Continue;
        }
        self.pause(conn, wait_ms);
        Verdict::Hold
    }

    /// Whether the rest of a batch is to wait.
    pub(crate) fn has_refused_enough(&self) -> bool {
        self.refused >= MAX_REFUSALS_PER_READ
    }

    /// Ends a batch: after a refusal nothing is read for a moment.
    pub(crate) fn rest_after_refusals(&mut self, conn: &mut Connection, verdict: Verdict) -> Verdict {
        let refused = std::mem::take(&mut self.refused);
        if refused == 0 || !verdict.is_open() {
            return verdict;
        }
        self.refused_in_turn += refused;
        self.pause(conn, REFUSAL_PAUSE_MS);
        Verdict::Hold
    }

    /// Reads nothing of a connection for a while.
    pub(crate) fn pause(&mut self, conn: &mut Connection, wait_ms: u64) {
        conn.has_unread = true;
        let until_ms = self.now_ms() + wait_ms;
        if until_ms <= conn.paused_until_ms {
            return;
        }
        conn.paused_until_ms = until_ms;
        // What it says meanwhile is not heard: that is no silence of the client.
        conn.heard_ms = until_ms;
        self.resume_at(conn.id, until_ms);
    }

    /// Reads a connection again whose pause is over, unless this turn has refused enough.
    pub(crate) fn resume(&mut self, id: ConnId) {
        if self.refused_in_turn >= MAX_REFUSALS_PER_TURN {
            self.read_again(id);
        } else {
            self.on_ready(id, true, false, false);
        }
    }

    /// Input has come during a pause: what follows wakes nobody. Most pauses end before that and cost no call.
    pub(crate) fn mute(&mut self, conn: &mut Connection) {
        if conn.paused_until_ms > self.now_ms() && !conn.is_muted {
            conn.is_muted = true;
            self.poller.watch_input(conn.fd.as_fd(), conn.id.0, false);
        }
    }

    /// Has the input reported again, once a connection was read without another pause.
    pub(crate) fn unmute(&mut self, conn: &mut Connection) {
        if conn.is_muted && conn.paused_until_ms <= self.now_ms() {
            conn.is_muted = false;
            self.poller.watch_input(conn.fd.as_fd(), conn.id.0, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, ErrorKind, Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use pybroker_core::codec::{self, Connect, Packet, PublishOut, QoS, Subscribe, SubscribeFilters, SubscribeOptions};
    use pybroker_core::codec::{UserProperties, Version};

    use super::*;
    use crate::command::Command;
    use crate::counters::Metric;
    use crate::events::Event;
    use crate::hub::Hub;
    use crate::listener::{Bind, Listener, ListenerSpec, ZoneTerms};
    use crate::namespace::{ClientLimits, NamespaceLimits};
    use crate::rate::{Limit, Rate};
    use crate::session::Session;
    use crate::settings::Settings;

    const HOUR_MS: u64 = 3_600_000;

    /// A shard that turns when it is told to, at the time of the test's clock.
    struct Bench {
        shard: Shard,
        listener: Arc<Listener>,
        now_ms: u64,
    }

    struct Client {
        socket: UnixStream,
        session: Arc<Session>,
        next_id: u16,
    }

    impl Bench {
        fn new(limits: NamespaceLimits) -> io::Result<Self> {
            let hub = Arc::new(Hub::new(1)?);
            hub.configure(Settings { receive_maximum: 0, ..Settings::default() });
            let shard = Shard::new(0, Arc::clone(&hub))?;
            let now_ms = shard.now_ms();
            hub.namespaces.configure("n1", limits, false, now_ms);
            let path = std::env::temp_dir().join(format!("pausing-{}-{:p}", std::process::id(), Arc::as_ptr(&hub)));
            let listener = Arc::new(Listener::open(1, ListenerSpec { bind: Bind::Unix(path), ..spec() }, now_ms)?);
            listener.stop();
            Ok(Self { shard, listener, now_ms })
        }

        /// Moves the clock and turns. Returns how many reports the turn began with.
        fn turn_after(&mut self, ms: u64) -> io::Result<usize> {
            self.now_ms += ms;
            let n = self.shard.poller.wait(Some(0))?;
            self.shard.work(n, self.now_ms);
            Ok(n)
        }

        fn client(&mut self, client_id: &str) -> io::Result<Client> {
            let (mut socket, served) = UnixStream::pair()?;
            socket.set_nonblocking(true)?;
            served.set_nonblocking(true)?;
            self.shard.adopt(Arc::clone(&self.listener), served.into(), None);
            let mut bytes = Vec::new();
            codec::encode_connect(&mut bytes, &Connect::new(Version::V5, client_id));
            socket.write_all(&bytes)?;
            self.turn_after(0)?;
            let events = self.shard.hub.events.take(100);
            let Some(Event::Connect { conn, .. }) = events.into_iter().next() else { panic!("CONNECT is told") };
            let session = self.shard.hub.create_session(client_id, "", "n1");
            let (claim, session_for) = (session.claim(), Arc::clone(&session));
            let accept =
                Command::Accept { conn, session: session_for, claim, is_present: false, keep_alive_s: 1, extra: None };
            self.shard.hub.shards[0].push(accept);
            self.turn_after(0)?;
            self.turn_after(0)?;
            let mut client = Client { socket, session, next_id: 1 };
            client.answers()?;
            Ok(client)
        }

        fn counted(&self, metric: Metric) -> u64 {
            self.shard.hub.counters.get(metric)
        }
    }

    impl Client {
        fn publish(&mut self, qos: QoS, count: usize) -> io::Result<()> {
            let mut bytes = Vec::new();
            for _ in 0..count {
                let packet_id = if qos == QoS::AtMostOnce { 0 } else { self.next_id };
                self.next_id += 1;
                let publish = PublishOut { topic: "t", payload: b"x", qos, packet_id, ..PublishOut::default() };
                codec::encode_publish(&mut bytes, Version::V5, &publish);
            }
            self.socket.write_all(&bytes)
        }

        fn subscribe(&mut self) -> io::Result<()> {
            let (mut filters, mut bytes) = (Vec::new(), Vec::new());
            SubscribeFilters::encode(&mut filters, "f", SubscribeOptions::default());
            let subscribe = Subscribe {
                packet_id: self.next_id,
                subscription_id: None,
                user_properties: UserProperties::default(),
                filters: SubscribeFilters::new(&filters),
            };
            self.next_id += 1;
            codec::encode_subscribe(&mut bytes, Version::V5, &subscribe);
            self.socket.write_all(&bytes)
        }

        /// Bytes that have come back.
        fn answers(&mut self) -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; 1 << 20];
            match self.socket.read(&mut bytes) {
                Ok(n) => bytes.truncate(n),
                Err(error) if error.kind() == ErrorKind::WouldBlock => bytes.clear(),
                Err(error) => return Err(error),
            }
            Ok(bytes)
        }

        fn reasons(&mut self) -> io::Result<Vec<u8>> {
            let bytes = self.answers()?;
            let mut decoder = codec::Decoder::with_version(codec::Role::Client, Version::V5, u32::MAX);
            let (mut at, mut reasons) = (0, Vec::new());
            while let Ok(Some((packet, used))) = decoder.decode(&bytes[at..]) {
                let Packet::Puback(ack) = packet else { panic!("a PUBACK is expected: {packet:?}") };
                reasons.push(ack.reason as u8);
                at += used;
            }
            Ok(reasons)
        }

        fn reads(&self) -> u64 {
            let levels = self.session.lock().levels();
            levels.into_iter().find(|(name, _)| *name == "recv_cnt").map_or(0, |(_, count)| count)
        }
    }

    fn spec() -> ListenerSpec {
        ListenerSpec {
            name: "unix:test".to_owned(),
            bind: Bind::Tcp(([127, 0, 0, 1], 0).into()),
            backlog: 1,
            is_nodelay: false,
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

    fn limits(messages: u64, interval_ms: u64) -> NamespaceLimits {
        let messages = Limit { rate: Rate::new(messages, interval_ms), burst: None };
        let client = ClientLimits { messages, ..ClientLimits::default() };
        NamespaceLimits { client: Some(Box::new(client)), has_client: true, ..NamespaceLimits::default() }
    }

    #[test]
    fn an_abuser_is_read_in_batches_and_each_message_is_answered() -> io::Result<()> {
        let mut bench = Bench::new(limits(1, HOUR_MS))?;
        let mut client = bench.client("a")?;
        let (before, mut reasons) = (client.reads(), Vec::new());
        for _ in 0..400 {
            client.publish(QoS::AtLeastOnce, 1)?;
            bench.turn_after(1)?;
            reasons.extend(client.reasons()?);
        }
        bench.turn_after(20)?;
        reasons.extend(client.reasons()?);
        assert_eq!(reasons, [[0x10].as_slice(), &[0x97; 399]].concat());
        let reads = client.reads() - before;
        assert!((30..=52).contains(&reads), "8 to 12 messages a read: {reads}");
        Ok(())
    }

    #[test]
    fn what_an_abuser_sends_meanwhile_wakes_nobody_and_is_counted() -> io::Result<()> {
        let mut bench = Bench::new(limits(1, HOUR_MS))?;
        let mut client = bench.client("a")?;
        let mut reports = 0;
        for _ in 0..1_001 {
            client.publish(QoS::AtMostOnce, 1)?;
            reports += bench.turn_after(1)?;
        }
        bench.turn_after(12)?;
        // The first, the refused one, the first one in a pause, and that there is room to write as it is muted.
        assert_eq!(reports, 4);
        assert_eq!(bench.counted(Metric::MessagesDroppedQuota), 1_000);
        Ok(())
    }

    #[test]
    fn one_read_refuses_so_many_and_the_rest_waits() -> io::Result<()> {
        let mut bench = Bench::new(limits(1, HOUR_MS))?;
        let mut client = bench.client("a")?;
        client.publish(QoS::AtLeastOnce, 1_000)?;
        bench.turn_after(0)?;
        assert_eq!(client.reasons()?.len(), MAX_REFUSALS_PER_READ + 1);
        bench.turn_after(REFUSAL_PAUSE_MS - 1)?;
        assert!(client.reasons()?.is_empty());
        bench.turn_after(5)?;
        assert_eq!(client.reasons()?.len(), MAX_REFUSALS_PER_READ);
        Ok(())
    }

    #[test]
    fn what_waited_passes_when_the_bucket_holds_enough_again() -> io::Result<()> {
        let mut bench = Bench::new(limits(500, 1_000))?;
        let mut client = bench.client("a")?;
        client.publish(QoS::AtLeastOnce, 500 + MAX_REFUSALS_PER_READ + 4)?;
        bench.turn_after(0)?;
        assert_eq!(client.reasons()?, [[0x10; 500].as_slice(), &[0x97; MAX_REFUSALS_PER_READ]].concat());
        bench.turn_after(12)?;
        assert_eq!(client.reasons()?, [0x10; 4]);
        Ok(())
    }

    #[test]
    fn abusers_share_the_work_of_a_turn_and_others_come_first() -> io::Result<()> {
        let mut bench = Bench::new(limits(1, HOUR_MS))?;
        let mut abusers = (0..10).map(|n| bench.client(&format!("a{n}"))).collect::<io::Result<Vec<_>>>()?;
        for abuser in &mut abusers {
            abuser.publish(QoS::AtLeastOnce, 1_000)?;
        }
        bench.turn_after(0)?;
        let mut quiet = bench.client("quiet")?;
        let answered = |bench: &Bench, last: &mut u64| {
            let now = bench.counted(Metric::PubackSent);
            now - std::mem::replace(last, now)
        };
        let mut last = bench.counted(Metric::PubackSent);
        bench.turn_after(12)?;
        assert_eq!(answered(&bench, &mut last), MAX_REFUSALS_PER_TURN as u64);
        assert_eq!(bench.shard.due_in(bench.now_ms), Some(0));
        quiet.publish(QoS::AtLeastOnce, 1)?;
        bench.turn_after(0)?;
        assert_eq!(quiet.reasons()?, [0x10]);
        assert_eq!(answered(&bench, &mut last), 1 + MAX_REFUSALS_PER_TURN as u64);
        for _ in 0..3 {
            bench.turn_after(0)?;
        }
        assert_eq!(answered(&bench, &mut last), 10 * MAX_REFUSALS_PER_READ as u64 - 2 * MAX_REFUSALS_PER_TURN as u64);
        Ok(())
    }

    #[test]
    fn subscribes_over_the_limit_are_read_in_batches_too() -> io::Result<()> {
        let subscribes = Limit { rate: Rate::new(1, HOUR_MS), burst: None };
        let client = ClientLimits { subscribes, ..ClientLimits::default() };
        let mut bench =
            Bench::new(NamespaceLimits { client: Some(Box::new(client)), has_client: true, ..limits(1, HOUR_MS) })?;
        let mut client = bench.client("a")?;
        client.subscribe()?;
        bench.turn_after(0)?;
        let Some(conn) = client.session.lock().link.as_ref().map(|link| link.conn) else { panic!("it is connected") };
        bench.shard.hub.shards[0].push(Command::Grant { conn, packet_id: 1, codes: None });
        bench.turn_after(0)?;
        bench.turn_after(0)?;
        let before = client.reads();
        for _ in 0..100 {
            client.subscribe()?;
            bench.turn_after(1)?;
        }
        bench.turn_after(12)?;
        assert_eq!(bench.counted(Metric::SubscribeError), 100);
        assert!(client.reads() - before <= 14, "8 to 12 a read: {}", client.reads() - before);
        Ok(())
    }

    #[test]
    fn a_client_within_its_limit_again_is_read_at_once() -> io::Result<()> {
        let mut bench = Bench::new(limits(1, 100))?;
        let mut client = bench.client("a")?;
        client.publish(QoS::AtLeastOnce, 2)?;
        bench.turn_after(0)?;
        client.publish(QoS::AtLeastOnce, 1)?;
        bench.turn_after(1)?;
        assert_eq!(client.reasons()?, [0x10, 0x97]);
        bench.turn_after(200)?;
        assert_eq!(client.reasons()?, [0x10]);
        for _ in 0..3 {
            client.publish(QoS::AtLeastOnce, 1)?;
            bench.turn_after(200)?;
            assert_eq!(client.reasons()?, [0x10]);
        }
        Ok(())
    }

    #[test]
    fn a_pause_is_no_silence_of_the_client() -> io::Result<()> {
        let mut bench = Bench::new(NamespaceLimits { pauses: true, ..limits(1, 10_000) })?;
        let mut client = bench.client("a")?;
        client.publish(QoS::AtLeastOnce, 1)?;
        bench.turn_after(0)?;
        client.socket.write_all(&codec::PINGREQ)?;
        for _ in 0..11 {
            bench.turn_after(1_000)?;
        }
        assert_eq!(client.answers()?.last_chunk(), Some(&codec::PINGRESP));
        Ok(())
    }

    #[test]
    fn an_abuser_that_leaves_is_noticed_and_forgotten() -> io::Result<()> {
        let mut bench = Bench::new(limits(1, HOUR_MS))?;
        let mut client = bench.client("a")?;
        for _ in 0..3 {
            client.publish(QoS::AtMostOnce, 1)?;
            bench.turn_after(1)?;
        }
        drop(client.socket);
        bench.turn_after(12)?;
        bench.turn_after(12)?;
        assert!(client.session.lock().link.is_none());
        assert_eq!(bench.counted(Metric::MessagesDroppedQuota), 2);
        Ok(())
    }
}
