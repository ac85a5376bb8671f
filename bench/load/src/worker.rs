//! One thread of a traffic run: publishes, receives, acknowledges and counts until the conductor says stop.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::board::{Board, Stage, add};
use crate::error::LoadError;
use crate::fleet::{ClientPlan, Fleet};
use crate::latency::Latency;
use crate::link::{Link, Phase};
use crate::publisher::{Publisher, Windows};
use crate::settings::{Mode, Settings};
use crate::tally::Stream;
use crate::topology::{SubscriberPlan, Topology};
use crate::wire::{self, Inbound, PublishTemplate, Stamp, kind};

/// Without any delivery for this long, a flood stops waiting for what is on the way.
const FORGIVE_AFTER_NS: u64 = 250_000_000;
/// Longest sleep, so that a change of stage is seen.
const LONGEST_SLEEP: Duration = Duration::from_millis(5);

/// Which clients a thread holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duties {
    pub publishes: bool,
    pub subscribes: bool,
}

/// One receiving client.
#[derive(Debug)]
struct Subscriber {
    first_publisher: u32,
    streams: Vec<Stream>,
    foreign: u64,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug)]
enum Role {
    Publisher(usize),
    Subscriber(usize),
    /// A subscriber that does not read before everything is published; counted by itself.
    Slow(usize),
}

/// What a thread brings home.
#[derive(Debug)]
pub struct Harvest {
    /// Messages sent by each of its publishers.
    pub sent: Vec<u64>,
    pub refused: u64,
    /// Streams of its subscribers: publisher and what arrived.
    pub streams: Vec<(usize, Stream)>,
    /// Those of its slow subscribers.
    pub slow_streams: Vec<(usize, Stream)>,
    /// Slow subscribers that the broker disconnected.
    pub slow_closed: u64,
    pub foreign: u64,
    /// Deliveries that a flood stopped waiting for.
    pub forgiven: u64,
    /// Refills of a flood; each is one write of many messages.
    pub refills: u64,
    /// From due time to arrival.
    pub latency: Latency,
    /// From send to arrival.
    pub transit: Latency,
    /// From due time to send: how late the generator itself was.
    pub lateness: Latency,
}

/// The clients of a thread and their state.
#[derive(Debug)]
struct Traffic<'a> {
    board: &'a Board,
    roles: Vec<Role>,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    slow: Vec<Subscriber>,
    is_paced: bool,
    latency: Latency,
    transit: Latency,
}

/// The due times of a paced run.
#[derive(Debug)]
struct Schedule {
    start_ns: Option<u64>,
    interval_ns: f64,
    issued: u64,
}

/// One thread of a traffic run.
pub struct Worker<'a> {
    fleet: Fleet,
    traffic: Traffic<'a>,
    schedule: Schedule,
    /// Connections of slow subscribers that are not read yet.
    unread: Vec<usize>,
    spins: bool,
    thread: usize,
    forgiven: u64,
    refills: u64,
    progress: (u64, u64),
    lateness: Latency,
}

impl<'a> Worker<'a> {
    /// Connects and subscribes the clients of one thread.
    ///
    /// # Errors
    /// The first refusal or error of a socket.
    pub fn prepare(
        settings: &Settings,
        topology: &Topology,
        board: &'a Board,
        thread: usize,
        duties: Duties,
    ) -> Result<Self, LoadError> {
        let clients = topology.publishers.len() + topology.subscribers.len() + topology.slow.len();
        let mut worker = Self {
            fleet: Fleet::new(settings, clients)?,
            traffic: Traffic {
                board,
                roles: Vec::new(),
                publishers: Vec::new(),
                subscribers: Vec::new(),
                slow: Vec::new(),
                is_paced: settings.mode == Mode::Paced,
                latency: Latency::new(),
                transit: Latency::new(),
            },
            schedule: Schedule {
                start_ns: None,
                interval_ns: 1e9 / settings.rate,
                issued: 0,
            },
            unread: Vec::new(),
            spins: settings.spins(),
            thread,
            forgiven: 0,
            refills: 0,
            progress: (0, 0),
            lateness: Latency::new(),
        };
        if duties.subscribes {
            worker.add_subscribers(settings, topology)?;
        }
        if duties.publishes {
            worker.add_publishers(settings, topology)?;
        }
        Ok(worker)
    }

    fn add_subscribers(
        &mut self,
        settings: &Settings,
        topology: &Topology,
    ) -> Result<(), LoadError> {
        let total = topology.subscribers.len() + topology.slow.len();
        let plans: Vec<_> = (0..total)
            .map(|s| ClientPlan::clean(format!("{}-s{s}", settings.prefix)))
            .collect();
        let first = self.fleet.open_all(&plans)?;
        let filters = topology.subscribers.iter().map(|plan| plan.filters.clone());
        let slow_filters = topology.slow.iter().map(|plan| plan.filters.clone());
        self.fleet.subscribe_all(
            (first..).zip(filters.chain(slow_filters)).collect(),
            settings.qos,
        )?;
        for (s, plan) in topology.subscribers.iter().enumerate() {
            self.traffic.roles.push(Role::Subscriber(s));
            self.traffic.subscribers.push(Subscriber::new(plan));
        }
        for (s, plan) in topology.slow.iter().enumerate() {
            let index = first + topology.subscribers.len() + s;
            self.traffic.roles.push(Role::Slow(s));
            self.traffic.slow.push(Subscriber::new(plan));
            self.fleet.ignore(index)?;
            self.unread.push(index);
        }
        Ok(())
    }

    fn add_publishers(
        &mut self,
        settings: &Settings,
        topology: &Topology,
    ) -> Result<(), LoadError> {
        let count = topology.publishers.len();
        let plans: Vec<_> = (0..count)
            .map(|p| ClientPlan::clean(format!("{}-p{p}", settings.prefix)))
            .collect();
        let first = self.fleet.open_all(&plans)?;
        let share = settings.outstanding / (count * topology.fan) as u64;
        for (p, plan) in topology.publishers.iter().enumerate() {
            let maximum = usize::from(self.fleet.link(first + p).receive_maximum);
            let windows = Windows {
                in_flight: settings.window.min(maximum),
                share,
                fan: topology.fan as u64,
            };
            let templates = plan
                .topics
                .iter()
                .map(|topic| PublishTemplate::new(topic, settings.publish_shape()))
                .collect();
            let id = u32::try_from(p).unwrap_or(u32::MAX);
            self.traffic.publishers.push(Publisher::new(
                id,
                first + p,
                templates,
                settings.qos,
                windows,
            ));
            self.traffic.roles.push(Role::Publisher(p));
        }
        Ok(())
    }

    /// Runs until the board says stop.
    ///
    /// # Errors
    /// The first error of a socket, or a close or refusal by the broker.
    pub fn run(mut self) -> Result<Harvest, LoadError> {
        let board = self.traffic.board;
        // Sleeps end on time instead of up to 50 us late; without it the schedule is just less exact.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        let mut mark = board.now_ns();
        loop {
            let stage = board.stage();
            if stage == Stage::Stop {
                break;
            }
            if stage == Stage::Drain {
                for index in std::mem::take(&mut self.unread) {
                    self.fleet.heed(index)?;
                }
            }
            let mut work = if stage == Stage::Publish {
                self.publish()?
            } else {
                0
            };
            let timeout = self.timeout(stage);
            let traffic = &mut self.traffic;
            let ready = self.fleet.turn(Some(timeout), &mut |index, link, packet| {
                traffic.on_packet(index, link, &packet)
            })?;
            work += ready as u64;
            let now = board.now_ns();
            if work == 0 {
                add(&board.idle_ns[self.thread], now - mark);
                if self.spins {
                    std::thread::yield_now();
                }
            }
            mark = now;
        }
        self.finish()
    }

    /// Sends what may be sent; returns the number of messages.
    fn publish(&mut self) -> Result<u64, LoadError> {
        if self.traffic.is_paced {
            self.publish_due()
        } else {
            self.publish_flood()
        }
    }

    fn publish_flood(&mut self) -> Result<u64, LoadError> {
        let board = self.traffic.board;
        let mut sent = 0;
        for publisher in &mut self.traffic.publishers {
            let count = publisher.refill(board);
            let link = self.fleet.link(publisher.link);
            if count == 0 || link.unsent_bytes() > 0 {
                continue;
            }
            publisher.flood(count, &mut link.out, board);
            self.fleet.flush(publisher.link)?;
            sent += count as u64;
            self.refills += 1;
        }
        if sent > 0 || self.progress.0 != board.received.load(Ordering::Relaxed) {
            self.progress = (board.received.load(Ordering::Relaxed), board.now_ns());
        } else if board.now_ns() - self.progress.1 > FORGIVE_AFTER_NS {
            self.forgiven += self
                .traffic
                .publishers
                .iter_mut()
                .map(|publisher| publisher.forgive(board))
                .sum::<u64>();
            self.progress.1 = board.now_ns();
        }
        Ok(sent)
    }

    fn publish_due(&mut self) -> Result<u64, LoadError> {
        let board = self.traffic.board;
        let publishers = &mut self.traffic.publishers;
        if publishers.is_empty() {
            return Ok(0);
        }
        let lateness = &mut self.lateness;
        let mut on_sent = |due_ns: u64, sent_ns: u64| {
            if board.is_measured(due_ns) {
                lateness.record(sent_ns.saturating_sub(due_ns));
            }
        };
        let mut sent = 0;
        let now_ns = board.now_ns();
        while let Some((due_ns, issued)) = self.schedule.next_until(now_ns) {
            let turn = usize::try_from(issued).unwrap_or(0) % publishers.len();
            let publisher = &mut publishers[turn];
            publisher.backlog.push_back(due_ns);
            let link = self.fleet.link(publisher.link);
            sent += publisher.send_due(&mut link.out, board, &mut on_sent);
            self.fleet.flush(publisher.link)?;
        }
        for publisher in publishers
            .iter_mut()
            .filter(|publisher| !publisher.backlog.is_empty())
        {
            let link = self.fleet.link(publisher.link);
            sent += publisher.send_due(&mut link.out, board, &mut on_sent);
            self.fleet.flush(publisher.link)?;
        }
        Ok(sent)
    }

    fn timeout(&self, stage: Stage) -> Duration {
        if self.spins {
            return Duration::ZERO;
        }
        if stage == Stage::Publish && self.traffic.is_paced && !self.traffic.publishers.is_empty() {
            let wait_ns = self
                .schedule
                .due_ns()
                .saturating_sub(self.traffic.board.now_ns());
            return Duration::from_nanos(wait_ns).min(LONGEST_SLEEP);
        }
        // A sleeping flood has to look for deliveries that another thread counted.
        if self.traffic.subscribers.is_empty() {
            Duration::from_micros(50)
        } else {
            LONGEST_SLEEP
        }
    }

    fn finish(mut self) -> Result<Harvest, LoadError> {
        let slow_closed = (0..self.traffic.roles.len())
            .filter(|index| self.fleet.link(*index).phase == Phase::Closed)
            .count() as u64;
        self.fleet.close_all(
            (0..self.traffic.roles.len()).filter(|index| !self.unread.contains(index)),
        )?;
        let traffic = self.traffic;
        let foreign = traffic
            .subscribers
            .iter()
            .map(|subscriber| subscriber.foreign)
            .sum();
        Ok(Harvest {
            streams: numbered_streams(traffic.subscribers),
            slow_streams: numbered_streams(traffic.slow),
            slow_closed,
            sent: traffic
                .publishers
                .iter()
                .map(|publisher| publisher.next)
                .collect(),
            refused: traffic
                .publishers
                .iter()
                .map(|publisher| publisher.refused)
                .sum(),
            foreign,
            forgiven: self.forgiven,
            refills: self.refills,
            latency: traffic.latency,
            transit: traffic.transit,
            lateness: self.lateness,
        })
    }
}

/// Every stream with the number of its publisher.
fn numbered_streams(subscribers: Vec<Subscriber>) -> Vec<(usize, Stream)> {
    let numbered = |subscriber: Subscriber| {
        let first = subscriber.first_publisher as usize;
        (first..).zip(subscriber.streams)
    };
    subscribers.into_iter().flat_map(numbered).collect()
}

impl Schedule {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a run lasts less than an hour"
    )]
    fn due_ns(&self) -> u64 {
        self.start_ns.map_or(0, |start| {
            start + (self.issued as f64 * self.interval_ns) as u64
        })
    }

    /// The next due message that is not later than `now_ns`: due time and number.
    fn next_until(&mut self, now_ns: u64) -> Option<(u64, u64)> {
        self.start_ns.get_or_insert(now_ns);
        let due_ns = self.due_ns();
        if due_ns > now_ns {
            return None;
        }
        self.issued += 1;
        Some((due_ns, self.issued - 1))
    }
}

impl Subscriber {
    fn new(plan: &SubscriberPlan) -> Self {
        let (first, count) = plan.publishers;
        Self {
            first_publisher: u32::try_from(first).unwrap_or(u32::MAX),
            streams: (0..count).map(|_| Stream::default()).collect(),
            foreign: 0,
        }
    }

    /// Records an arrival and returns its stamp; `None` if it is of no publisher that this subscriber hears.
    #[inline]
    fn record(&mut self, payload: &[u8]) -> Option<Stamp> {
        let Some(stamp) = Stamp::decode(payload) else {
            self.foreign += 1;
            return None;
        };
        let stream = stamp.publisher.wrapping_sub(self.first_publisher) as usize;
        let Some(stream) = self.streams.get_mut(stream) else {
            self.foreign += 1;
            return None;
        };
        stream.record(stamp.sequence);
        Some(stamp)
    }
}

impl Traffic<'_> {
    fn on_packet(
        &mut self,
        index: usize,
        link: &mut Link,
        packet: &Inbound<'_>,
    ) -> Result<(), LoadError> {
        match (self.roles[index], packet) {
            (
                role @ (Role::Subscriber(_) | Role::Slow(_)),
                Inbound::Publish {
                    qos,
                    packet_id,
                    payload,
                },
            ) => {
                match role {
                    Role::Slow(s) => self.on_late(s, payload),
                    Role::Subscriber(s) | Role::Publisher(s) => self.on_publish(s, payload),
                }
                match qos {
                    1 => wire::put_ack(&mut link.out, kind::PUBACK, *packet_id),
                    2 => wire::put_ack(&mut link.out, kind::PUBREC, *packet_id),
                    _ => {}
                }
            }
            (
                Role::Subscriber(_) | Role::Slow(_),
                Inbound::Ack {
                    kind: kind::PUBREL,
                    packet_id,
                    ..
                },
            ) => {
                wire::put_ack(&mut link.out, kind::PUBCOMP, *packet_id);
            }
            (
                Role::Publisher(p),
                Inbound::Ack {
                    kind,
                    packet_id,
                    code,
                },
            ) => {
                return self.on_ack(p, link, *kind, *packet_id, *code);
            }
            _ => {}
        }
        Ok(())
    }

    fn on_ack(
        &mut self,
        publisher: usize,
        link: &mut Link,
        kind: u8,
        packet_id: u16,
        code: u8,
    ) -> Result<(), LoadError> {
        if kind == kind::PUBREC && code < 0x80 {
            wire::put_ack(&mut link.out, kind::PUBREL, packet_id);
            return Ok(());
        }
        if self.publishers[publisher].on_settled(code) {
            return Ok(());
        }
        Err(LoadError::Protocol(format!(
            "acknowledgement of nothing, packet id {packet_id}"
        )))
    }

    #[inline]
    fn on_publish(&mut self, subscriber: usize, payload: &[u8]) {
        let Some(stamp) = self.subscribers[subscriber].record(payload) else {
            return;
        };
        add(&self.board.delivered[stamp.publisher as usize], 1);
        add(&self.board.received, 1);
        if self.is_paced && self.board.is_measured(stamp.due_ns) {
            let now_ns = self.board.now_ns();
            self.latency.record(now_ns.saturating_sub(stamp.due_ns));
            self.transit.record(now_ns.saturating_sub(stamp.sent_ns));
        }
    }

    fn on_late(&mut self, subscriber: usize, payload: &[u8]) {
        if self.slow[subscriber].record(payload).is_some() {
            add(&self.board.late, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedule_issues_everything_that_is_due_and_keeps_due_times() {
        let mut schedule = Schedule {
            start_ns: None,
            interval_ns: 1000.5,
            issued: 0,
        };
        assert_eq!(schedule.next_until(500), Some((500, 0)));
        assert_eq!(schedule.next_until(500), None);
        assert_eq!(schedule.next_until(2600), Some((1500, 1)));
        assert_eq!(schedule.next_until(2600), Some((2501, 2)));
        assert_eq!(schedule.next_until(2600), None);
    }
}
