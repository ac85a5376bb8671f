//! Messages are offered while the connection loses, repeats and breaks: nothing is lost or doubled that must not be.
//!
//! A broker's `Window` sends to a client that keeps QoS 2 ids twice, in a second `Window` and in a plain set, so that both
//! directions are judged.

use std::collections::{BTreeMap, HashSet, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;
use pybroker_core::session::{Entry, InboundQos2, Limits, Next, Offer, Pubrec, Resend, Window};

use super::{entry, limits};

/// What the network does, and what is published, in one step of a history.
#[derive(Debug, Clone)]
enum Step {
    Publish {
        qos: u8,
        priority: i16,
    },
    /// So many messages one behind the other.
    PublishRun {
        qos: u8,
        count: u32,
    },
    /// So many packets reach the client.
    Down(usize),
    /// So many packets reach the broker.
    Up(usize),
    /// The next packet to the client arrives twice.
    RepeatDown,
    /// The next packet to the broker arrives twice.
    RepeatUp,
    /// The broker begins or ceases to hold back what it may send.
    Stall,
    /// The connection breaks after so many more packets each way.
    Break {
        down: usize,
        up: usize,
    },
    Attach {
        receive_maximum: u16,
    },
}

#[derive(Debug, Clone)]
enum Down {
    Publish { packet_id: u16, qos: u8, message: u32 },
    Pubrel(u16),
}

#[derive(Debug, Clone, Copy)]
enum Up {
    Puback(u16),
    Pubrec { packet_id: u16, is_failure: bool },
    Pubcomp(u16),
}

/// A client that keeps its session, refuses every seventh QoS 2 message and counts what is open, as 5.0 has it.
///
/// One QoS 1 message may be its straggler: that one is not acknowledged before the end.
#[derive(Default)]
struct Client {
    window: Window<()>,
    unreleased: HashSet<u16>,
    open: HashSet<u16>,
    receive_maximum: u16,
    straggler: Option<u32>,
    delivered: Vec<u32>,
}

impl Client {
    fn refuses(message: u32) -> bool {
        message % 7 == 3
    }

    fn on_packet(&mut self, packet: &Down) -> Option<Up> {
        match *packet {
            Down::Publish { qos: 0, message, .. } => {
                self.delivered.push(message);
                None
            }
            Down::Publish { packet_id, qos, message } => {
                self.open.insert(packet_id);
                assert!(self.open.len() <= usize::from(self.receive_maximum));
                self.on_publish(packet_id, qos, message)
            }
            Down::Pubrel(packet_id) => {
                let was_there = self.unreleased.remove(&packet_id);
                assert_eq!(self.window.inbound_release(packet_id), was_there);
                self.open.remove(&packet_id);
                Some(Up::Pubcomp(packet_id))
            }
        }
    }

    fn on_publish(&mut self, packet_id: u16, qos: u8, message: u32) -> Option<Up> {
        if qos == 1 {
            self.delivered.push(message);
            if self.straggler == Some(message) {
                return None;
            }
            self.open.remove(&packet_id);
            return Some(Up::Puback(packet_id));
        }
        let is_new = self.unreleased.insert(packet_id);
        let expected = if is_new { InboundQos2::New } else { InboundQos2::Duplicate };
        assert_eq!(self.window.inbound_publish(packet_id, 0, 0), expected);
        let is_failure = Self::refuses(message);
        if is_failure {
            self.unreleased.remove(&packet_id);
            self.window.inbound_forget(packet_id);
            self.open.remove(&packet_id);
        } else if is_new {
            self.delivered.push(message);
        }
        Some(Up::Pubrec { packet_id, is_failure })
    }
}

/// One session: the broker's side, the client's side and the two directions between them.
struct Session {
    window: Window<u32>,
    limits: Limits,
    client: Client,
    receive_maximum: Option<u16>,
    is_stalled: bool,
    down: VecDeque<Down>,
    up: VecDeque<Up>,
    published: Vec<(u8, i16)>,
    dropped: HashSet<u32>,
}

impl Session {
    fn new(limits: Limits) -> Self {
        Self {
            window: Window::new(),
            limits,
            client: Client::default(),
            receive_maximum: None,
            is_stalled: false,
            down: VecDeque::new(),
            up: VecDeque::new(),
            published: Vec::new(),
            dropped: HashSet::new(),
        }
    }

    /// Uses up ids until the wrap is near; message 0, with id 3, is left open, so that the wrap has to skip it.
    fn wear_ids(&mut self) {
        let limits = Limits { max_inflight: 0, ..self.limits };
        self.published.push((1, 0));
        self.client.straggler = Some(0);
        for expected in 1..=65_530 {
            let message = if expected == 3 { 0 } else { u32::MAX };
            let offer = self.window.offer(entry(message, 1, 0), true, 8, &limits);
            let packet_id = expected;
            assert_eq!(offer, Offer::Send { packet_id });
            if expected != 3 {
                assert!(self.window.on_puback(expected).is_some());
            }
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Publish { qos, priority } => self.publish(qos, priority),
            Step::PublishRun { qos, count } => self.publish_run(qos, count),
            Step::Down(count) => self.arrive_down(count),
            Step::Up(count) => self.arrive_up(count),
            Step::RepeatDown => {
                if let Some(packet) = self.down.front().cloned() {
                    self.down.push_front(packet);
                }
            }
            Step::RepeatUp => {
                if let Some(&packet) = self.up.front() {
                    self.up.push_front(packet);
                }
            }
            Step::Stall => {
                self.is_stalled = !self.is_stalled;
                self.pump();
            }
            Step::Break { down, up } => self.cut(down, up),
            Step::Attach { receive_maximum } => self.attach(receive_maximum),
        }
        self.check();
    }

    fn publish(&mut self, qos: u8, priority: i16) {
        let message = u32::try_from(self.published.len()).unwrap();
        let entry = entry(message, qos, priority);
        self.published.push((qos, priority));
        let is_attached = self.receive_maximum.is_some();
        if qos == 0 && is_attached {
            self.down.push_back(published(0, &entry));
            return;
        }
        let receive_maximum = self.receive_maximum.unwrap_or(0);
        match self.window.offer(entry, is_attached, receive_maximum, &self.limits) {
            Offer::Send { packet_id } => self.down.push_back(Down::Publish { packet_id, qos, message }),
            Offer::Queued { evicted } => self.dropped.extend(evicted.iter().map(|entry| entry.message)),
            Offer::Refused(entry) => assert!(self.dropped.insert(entry.message)),
            Offer::Disconnect => {
                self.dropped.insert(message);
                self.cut(0, 0);
            }
        }
        self.pump();
    }

    fn publish_run(&mut self, qos: u8, count: u32) {
        if let Some(receive_maximum) = self.receive_maximum {
            let first = u32::try_from(self.published.len()).unwrap();
            let mut message = first;
            let down = &mut self.down;
            let entries = (first..first + count).map(|message| entry(message, qos, 0));
            let sent = self.window.send_run(entries, receive_maximum, &self.limits, |packet_id| {
                down.push_back(Down::Publish { packet_id, qos, message });
                message += 1;
            });
            self.published.extend(std::iter::repeat_n((qos, 0), sent));
            assert_eq!(self.published.len(), message as usize);
            for _ in sent..count as usize {
                self.publish(qos, 0);
            }
        }
    }

    fn attach(&mut self, receive_maximum: u16) {
        self.cut(0, 0);
        self.receive_maximum = Some(receive_maximum);
        self.client.receive_maximum = receive_maximum;
        let resends = self.window.resume(receive_maximum);
        self.down.extend(resends.map(|resend| resent(&resend)));
        self.pump();
    }

    /// Breaks the connection: what has not arrived by then is lost.
    fn cut(&mut self, down: usize, up: usize) {
        self.arrive_down(down);
        self.arrive_up(up);
        self.down.clear();
        self.up.clear();
        self.client.open.clear();
        self.receive_maximum = None;
    }

    fn arrive_down(&mut self, count: usize) {
        for _ in 0..count {
            let Some(packet) = self.down.pop_front() else {
                return;
            };
            self.up.extend(self.client.on_packet(&packet));
        }
    }

    fn arrive_up(&mut self, count: usize) {
        for _ in 0..count {
            let Some(packet) = self.up.pop_front() else {
                return;
            };
            match packet {
                Up::Puback(packet_id) => {
                    self.window.on_puback(packet_id);
                }
                Up::Pubrec { packet_id, is_failure } => {
                    if self.window.on_pubrec(packet_id, is_failure) == Pubrec::Release {
                        self.down.push_back(Down::Pubrel(packet_id));
                    }
                }
                Up::Pubcomp(packet_id) => {
                    self.window.on_pubcomp(packet_id);
                }
            }
            self.pump();
        }
    }

    fn pump(&mut self) {
        let Some(receive_maximum) = self.receive_maximum else {
            return;
        };
        while !self.is_stalled {
            let packet = match self.window.next(0, receive_maximum, &self.limits) {
                Next::Send { packet_id, entry } => published(packet_id, entry),
                Next::SendQos0(entry) => published(0, &entry),
                Next::Resend(resend) => resent(&resend),
                Next::Expired(entry) => panic!("nothing expires here: {entry:?}"),
                Next::None => return,
            };
            self.down.push_back(packet);
        }
    }

    /// What holds at any time.
    fn check(&self) {
        let ids: Vec<u16> = self.window.inflight().map(|item| item.packet_id).collect();
        let distinct: HashSet<u16> = ids.iter().copied().collect();
        assert_eq!(ids.len(), distinct.len());
        assert!(!distinct.contains(&0));
        assert!(self.client.straggler.is_none() || ids.first() == Some(&3));
        assert_eq!(self.window.queued().count(), self.window.queue_len());
        let max_queue_len = self.limits.max_queue_len as usize;
        assert!(max_queue_len == 0 || self.window.queue_len() <= max_queue_len);
        assert_eq!(self.window.queue_bytes(), self.window.queue_len() as u64);
    }

    /// Lets the network be kind until nothing moves, then judges what the client got.
    fn settle_and_judge(mut self) {
        self.is_stalled = false;
        self.client.straggler = None;
        self.attach(2);
        while !self.down.is_empty() || !self.up.is_empty() {
            self.arrive_down(1);
            self.arrive_up(1);
        }
        assert_eq!((self.window.inflight_len(), self.window.queue_len()), (0, 0));
        assert!(self.client.unreleased.is_empty());
        assert_eq!(self.client.window.inbound_len(), 0);
        let counts = self.judge_order();
        self.judge_counts(&counts);
    }

    /// Checks the order of first deliveries within each priority; returns how often each message came.
    fn judge_order(&self) -> BTreeMap<u32, usize> {
        let mut last_of: BTreeMap<i16, u32> = BTreeMap::new();
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        for &message in &self.client.delivered {
            let count = counts.entry(message).or_insert(0);
            *count += 1;
            let (qos, priority) = self.published[message as usize];
            if *count == 1 && qos > 0 {
                let last = last_of.insert(priority, message);
                assert!(last.is_none_or(|last| last < message), "{message} came after {last:?}");
            }
        }
        counts
    }

    fn judge_counts(&self, counts: &BTreeMap<u32, usize>) {
        for (message, &(qos, _)) in (0_u32..).zip(&self.published) {
            let count = counts.get(&message).copied().unwrap_or(0);
            let is_refused = qos == 2 && Client::refuses(message);
            match qos {
                _ if self.dropped.contains(&message) || is_refused => assert_eq!(count, 0),
                0 => {} // A break may lose it and the network repeat it: no promise is made.
                1 => assert!(count >= 1, "{message} is lost"),
                _ => assert_eq!(count, 1, "{message} is lost or doubled"),
            }
        }
    }
}

fn published(packet_id: u16, entry: &Entry<u32>) -> Down {
    Down::Publish { packet_id, qos: entry.qos, message: entry.message }
}

fn resent(resend: &Resend<'_, u32>) -> Down {
    match resend {
        Resend::Publish { packet_id, entry } => published(*packet_id, entry),
        Resend::Release { packet_id } => Down::Pubrel(*packet_id),
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0_u8..3, -1_i16..2).prop_map(|(qos, priority)| Step::Publish { qos, priority }),
        2 => (1_u8..3, 1_u32..6).prop_map(|(qos, count)| Step::PublishRun { qos, count }),
        4 => (1_usize..4).prop_map(Step::Down),
        4 => (1_usize..4).prop_map(Step::Up),
        1 => Just(Step::RepeatDown),
        1 => Just(Step::RepeatUp),
        1 => Just(Step::Stall),
        1 => (0_usize..4, 0_usize..4).prop_map(|(down, up)| Step::Break { down, up }),
        2 => (1_u16..6).prop_map(|receive_maximum| Step::Attach { receive_maximum }),
    ];
    vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    // [MQTT5-4.3.2-1] [MQTT5-4.3.3-1] [MQTT5-4.4.0-1] [MQTT5-4.6.0-6] [MQTT5-4.9.0-2]
    #[test]
    fn qos1_is_never_lost_and_qos2_neither_lost_nor_doubled(limits in limits(), steps in steps()) {
        let mut session = Session::new(limits);
        for step in &steps {
            session.apply(step);
        }
        session.settle_and_judge();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, ..ProptestConfig::default() })]

    // [MQTT5-2.2.1-4]
    #[test]
    fn the_promises_hold_across_the_wrap_of_the_packet_ids(limits in limits(), steps in steps()) {
        let mut session = Session::new(limits);
        session.wear_ids();
        for step in &steps {
            session.apply(step);
        }
        session.settle_and_judge();
    }
}
