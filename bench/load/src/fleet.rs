//! All connections of one thread on one epoll: dialling, greeting, subscribing, and one read and write per turn.
//!
//! A connection that the broker closes ends the run; a mode that closes connections itself uses `close`.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with, sockopt,
};

use crate::error::LoadError;
use crate::link::{Drained, Link, Phase, Scratch};
use crate::settings::{Mode, Settings};
use crate::tls::TlsMaker;
use crate::websocket;
use crate::wire::{self, ConnectShape, Inbound, Version};

/// Connections that are dialled at the same time; below the listen backlog of every peer (mosquitto: 100).
const DIALS_AT_ONCE: usize = 64;
/// Filters in one SUBSCRIBE.
const FILTERS_PER_PACKET: usize = 100;
/// Connections that subscribe at the same time.
const SUBSCRIBERS_AT_ONCE: usize = 256;
/// Connections of one source address. Linux gives the even half of its 28,232 ports first and, once that half is used
/// up, searches all of it before each odd one: a millisecond per connection.
const PORTS_PER_SOURCE: usize = 10_000;
/// Source addresses of a storm: a closed connection keeps its port for a minute, 20,000 connects a second for ten
/// seconds leave 200,000.
const STORM_SOURCES: usize = 20;

/// Who connects.
#[derive(Clone, Debug)]
pub struct ClientPlan {
    pub client_id: String,
    pub is_clean: bool,
    /// Only used by MQTT 5 clients.
    pub session_expiry_s: u32,
}

impl ClientPlan {
    /// A client whose session ends with its connection.
    pub fn clean(client_id: String) -> Self {
        Self {
            client_id,
            is_clean: true,
            session_expiry_s: 0,
        }
    }
}

/// How sockets are made.
#[derive(Debug)]
struct Dialer {
    target: SocketAddr,
    tls: Option<TlsMaker>,
    ws_path: Option<String>,
    version: Version,
    username: Option<String>,
    password: Option<String>,
    sources: u8,
}

/// The connections of one thread.
pub struct Fleet {
    dialer: Dialer,
    epoll: OwnedFd,
    links: Vec<Link>,
    scratch: Scratch,
    events: Vec<epoll::Event>,
    step_limit: Duration,
}

/// A step with a bound.
#[derive(Debug)]
struct Deadline {
    step: &'static str,
    started: Instant,
    limit: Duration,
}

impl Deadline {
    fn check(&self) -> Result<(), LoadError> {
        if self.started.elapsed() < self.limit {
            return Ok(());
        }
        Err(LoadError::Timeout {
            step: self.step,
            seconds: self.limit.as_secs_f64(),
        })
    }
}

impl Fleet {
    /// Prepares a fleet for `connections` clients; opens nothing yet.
    ///
    /// # Errors
    /// `LoadError::Settings` if TLS cannot be set up, `LoadError::Io` without an epoll.
    pub fn new(settings: &Settings, connections: usize) -> Result<Self, LoadError> {
        let tls = match (settings.tls, settings.cafile.as_deref()) {
            (true, Some(cafile)) => Some(TlsMaker::new(cafile, &settings.server_name)?),
            _ => None,
        };
        let needed = match settings.mode {
            Mode::Storm => STORM_SOURCES,
            _ if connections > PORTS_PER_SOURCE => connections.div_ceil(PORTS_PER_SOURCE),
            _ => 0,
        };
        let sources = settings
            .sources
            .unwrap_or_else(|| u8::try_from(needed).unwrap_or(250))
            .min(250);
        Ok(Self {
            dialer: Dialer {
                target: settings.target,
                tls,
                ws_path: settings.ws.then(|| settings.ws_path.clone()),
                version: settings.version(),
                username: settings.username.clone(),
                password: settings.password.clone(),
                sources,
            },
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)
                .map_err(LoadError::errno("creating an epoll"))?,
            links: Vec::new(),
            scratch: Scratch::new(),
            events: Vec::with_capacity(1024),
            step_limit: Duration::from_secs_f64(settings.step_limit),
        })
    }

    /// The connection with this index.
    pub fn link(&mut self, index: usize) -> &mut Link {
        &mut self.links[index]
    }

    /// Starts one connection with its CONNECT and returns its index.
    ///
    /// # Errors
    /// `LoadError::Io` if no socket can be made.
    pub fn open(&mut self, plan: &ClientPlan) -> Result<usize, LoadError> {
        let index = self.links.len();
        let link = self.dialer.dial(index, plan)?;
        self.watch(index, &link)?;
        self.links.push(link);
        Ok(index)
    }

    /// Replaces the closed connection `index` by a new one.
    ///
    /// # Errors
    /// As `open`.
    pub fn reopen(&mut self, index: usize, plan: &ClientPlan) -> Result<(), LoadError> {
        let link = self.dialer.dial(index, plan)?;
        self.watch(index, &link)?;
        self.links[index] = link;
        Ok(())
    }

    fn watch(&self, index: usize, link: &Link) -> Result<(), LoadError> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        epoll::add(
            &self.epoll,
            link.stream(),
            epoll::EventData::new_u64(index as u64),
            flags,
        )
        .map_err(LoadError::errno("watching a socket"))
    }

    /// Connects all clients and waits for their CONNACKs; returns the index of the first, the others follow it.
    ///
    /// # Errors
    /// The first refusal, `LoadError::Timeout`, or what the operating system says.
    pub fn open_all(&mut self, plans: &[ClientPlan]) -> Result<usize, LoadError> {
        let first = self.links.len();
        let deadline = self.deadline("connecting", plans.len());
        let mut connected = 0;
        while connected < plans.len() {
            let opened = self.links.len() - first;
            for plan in plans
                .iter()
                .skip(opened)
                .take(DIALS_AT_ONCE.saturating_sub(opened - connected))
            {
                self.open(plan)?;
            }
            self.turn(Some(Duration::from_millis(100)), &mut |_, _, packet| {
                connected += usize::from(matches!(packet, Inbound::Connack { .. }));
                Ok(())
            })?;
            deadline.check()?;
        }
        Ok(first)
    }

    /// Subscribes each (connection, filters) and waits for the answers. Deliveries meanwhile are ignored.
    ///
    /// # Errors
    /// The first refusal, `LoadError::Timeout`, or what the operating system says.
    pub fn subscribe_all(
        &mut self,
        mut work: Vec<(usize, Vec<String>)>,
        qos: u8,
    ) -> Result<(), LoadError> {
        let deadline = self.deadline(
            "subscribing",
            work.iter().map(|(_, filters)| filters.len()).sum(),
        );
        work.reverse();
        let mut active: Vec<(usize, Vec<String>)> = Vec::new();
        let version = self.dialer.version;
        loop {
            let links = &self.links;
            active.retain(|(index, filters)| {
                !filters.is_empty() || links[*index].open_subscribes > 0
            });
            while active.len() < SUBSCRIBERS_AT_ONCE
                && let Some(next) = work.pop()
            {
                active.push(next);
            }
            if active.is_empty() {
                return Ok(());
            }
            for (index, filters) in &mut active {
                let link = &mut self.links[*index];
                if link.open_subscribes > 0 || filters.is_empty() {
                    continue;
                }
                let rest = filters.split_off(filters.len().min(FILTERS_PER_PACKET));
                wire::put_subscribe(&mut link.out, version, 1, filters, qos);
                link.open_subscribes = 1;
                *filters = rest;
                flush_and_watch(&self.epoll, *index, link)?;
            }
            self.turn(Some(Duration::from_millis(100)), &mut |_, _, _| Ok(()))?;
            deadline.check()?;
        }
    }

    fn deadline(&self, step: &'static str, items: usize) -> Deadline {
        let limit = self.step_limit + Duration::from_millis(items as u64 / 2);
        Deadline {
            step,
            started: Instant::now(),
            limit,
        }
    }

    /// Flushes what was put into the output of connection `index`.
    ///
    /// # Errors
    /// What the socket says.
    pub fn flush(&mut self, index: usize) -> Result<(), LoadError> {
        flush_and_watch(&self.epoll, index, &mut self.links[index])
    }

    /// Stops reading connection `index`, the connection stays open.
    ///
    /// # Errors
    /// What epoll says.
    pub fn ignore(&mut self, index: usize) -> Result<(), LoadError> {
        epoll::delete(&self.epoll, self.links[index].stream())
            .map_err(LoadError::errno("ignoring a socket"))
    }

    /// Reads connection `index` again; the broker may have closed it meanwhile.
    ///
    /// # Errors
    /// What epoll says.
    pub fn heed(&mut self, index: usize) -> Result<(), LoadError> {
        let link = &mut self.links[index];
        (link.may_close, link.wants_write) = (true, true);
        self.watch(index, &self.links[index])
    }

    /// Sends DISCONNECT and closes connection `index`.
    ///
    /// # Errors
    /// What the socket says.
    pub fn close(&mut self, index: usize) -> Result<(), LoadError> {
        let link = &mut self.links[index];
        wire::put_disconnect(&mut link.out);
        link.flush()?;
        epoll::delete(&self.epoll, link.stream()).map_err(LoadError::errno("closing a socket"))?;
        link.phase = Phase::Closed;
        // Both directions: the broker sees the end at once, the descriptor itself goes with the link.
        let _ = link.stream().shutdown(std::net::Shutdown::Both);
        Ok(())
    }

    /// Closes every open connection with a DISCONNECT. Ignored ones are dropped with the fleet.
    ///
    /// # Errors
    /// What the socket says.
    pub fn close_all(&mut self, indexes: impl Iterator<Item = usize>) -> Result<(), LoadError> {
        for index in indexes {
            if self.links[index].phase == Phase::Connected {
                self.close(index)?;
            }
        }
        Ok(())
    }

    /// Waits at most `timeout` (`None`: until something happens), then reads and writes each ready connection once.
    ///
    /// Returns the number of ready connections. `on_packet` gets every packet; what it puts into the output of
    /// its connection leaves with one write.
    ///
    /// # Errors
    /// The first refusal, disconnect or error of a socket, or what `on_packet` says.
    pub fn turn(
        &mut self,
        timeout: Option<Duration>,
        on_packet: &mut impl FnMut(usize, &mut Link, Inbound<'_>) -> Result<(), LoadError>,
    ) -> Result<usize, LoadError> {
        let timeout = timeout.map(|time| Timespec {
            tv_sec: time.as_secs().cast_signed(),
            tv_nsec: time.subsec_nanos().into(),
        });
        self.events.clear();
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(LoadError::errno("waiting for sockets")(errno)),
        }
        let version = self.dialer.version;
        for event in &self.events {
            let (index, flags) = (event_index(event), event.flags);
            let link = &mut self.links[index];
            if link.phase == Phase::Dialing {
                self.dialer.finish_dial(link)?;
            } else if flags
                .intersects(epoll::EventFlags::IN | epoll::EventFlags::HUP | epoll::EventFlags::ERR)
            {
                let drained = link.drain(&mut self.scratch, version, &mut |link, packet| {
                    react(link, &packet)?;
                    on_packet(index, link, packet)
                })?;
                if drained == Drained::Closed {
                    if !link.may_close {
                        return Err(LoadError::Closed { client: index });
                    }
                    epoll::delete(&self.epoll, link.stream())
                        .map_err(LoadError::errno("closing a socket"))?;
                    link.phase = Phase::Closed;
                    continue;
                }
            }
            flush_and_watch(&self.epoll, index, link)?;
        }
        Ok(self.events.len())
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the data of an event is an index that we stored"
)]
fn event_index(event: &epoll::Event) -> usize {
    event.data.u64() as usize
}

/// Writes, and watches for room only while the socket takes no more.
fn flush_and_watch(epoll: &OwnedFd, index: usize, link: &mut Link) -> Result<(), LoadError> {
    let wants_write = !link.flush()?;
    if wants_write != link.wants_write {
        link.wants_write = wants_write;
        let room = if wants_write {
            epoll::EventFlags::OUT
        } else {
            epoll::EventFlags::empty()
        };
        epoll::modify(
            epoll,
            link.stream(),
            epoll::EventData::new_u64(index as u64),
            epoll::EventFlags::IN | room,
        )
        .map_err(LoadError::errno("watching a socket"))?;
    }
    Ok(())
}

/// Keeps the state that all modes share.
fn react(link: &mut Link, packet: &Inbound<'_>) -> Result<(), LoadError> {
    match *packet {
        Inbound::Connack {
            code: 0,
            receive_maximum,
        } => {
            link.phase = Phase::Connected;
            link.receive_maximum = receive_maximum;
        }
        Inbound::Connack { code, .. } => {
            return Err(LoadError::Refused {
                what: "connect",
                code,
            });
        }
        Inbound::Suback {
            refused: Some(code),
        } => {
            return Err(LoadError::Refused {
                what: "subscribe",
                code,
            });
        }
        Inbound::Suback { refused: None } => {
            link.open_subscribes = link.open_subscribes.saturating_sub(1);
        }
        Inbound::Disconnect { code } if !link.may_close => {
            return Err(LoadError::Refused {
                what: "connection",
                code,
            });
        }
        _ => {}
    }
    Ok(())
}

/// A loopback address of this process alone: ports that wait after an earlier run do not stand in the way.
fn source(sources: u8, index: usize) -> Ipv4Addr {
    let [low, high, ..] = std::process::id().to_le_bytes();
    let last = 2 + u8::try_from(index % usize::from(sources)).unwrap_or(0);
    Ipv4Addr::new(127, 1 + high % 254, low, last)
}

impl Dialer {
    fn dial(&self, index: usize, plan: &ClientPlan) -> Result<Link, LoadError> {
        let family = if self.target.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))
            .map_err(LoadError::errno("making a socket"))?;
        sockopt::set_tcp_nodelay(&socket, true).map_err(LoadError::errno("setting TCP_NODELAY"))?;
        if self.sources > 0 && self.target.is_ipv4() {
            bind(&socket, &SocketAddrV4::new(source(self.sources, index), 0))
                .map_err(LoadError::errno("binding a source"))?;
        }
        match connect(&socket, &self.target) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(errno) => return Err(LoadError::errno("connecting")(errno)),
        }
        let tls = self.tls.as_ref().map(TlsMaker::start).transpose()?;
        let mut link = Link::new(TcpStream::from(socket), tls, self.ws_path.is_some());
        let numbered =
            |text: &Option<String>| Some(text.as_ref()?.replace("{n}", &index.to_string()));
        let (username, password) = (numbered(&self.username), numbered(&self.password));
        wire::put_connect(
            &mut link.out,
            &ConnectShape {
                version: self.version,
                client_id: &plan.client_id,
                username: username.as_deref(),
                password: password.as_deref(),
                is_clean: plan.is_clean,
                session_expiry_s: plan.session_expiry_s,
            },
        );
        Ok(link)
    }

    /// Called when a dialled socket is writable or failed.
    fn finish_dial(&self, link: &mut Link) -> Result<(), LoadError> {
        if let Some(error) = link
            .stream()
            .take_error()
            .map_err(LoadError::io("connecting"))?
        {
            return Err(LoadError::Io {
                doing: "connecting",
                source: error,
            });
        }
        match &self.ws_path {
            Some(path) => {
                link.put_raw(&websocket::upgrade_request(&self.target.to_string(), path))?;
                link.phase = Phase::Upgrading;
            }
            None => link.phase = Phase::Greeting,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_loopback_and_in_turn() {
        let all: Vec<_> = (0..4).map(|index| source(3, index)).collect();
        assert!(
            all.iter()
                .all(|address| address.is_loopback() && *address != Ipv4Addr::LOCALHOST)
        );
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] == all[3]);
    }
}
