//! Sockets and the turn: read each ready connection once, copy messages to subscribers, write each connection once.
//!
//! Level-triggered and single-threaded. Nothing is bounded but one packet: a run knows how much it has on the way.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::net::{SocketFlags, accept_with, sockopt};

use crate::packet::{self, Malformed, kind};

/// Bytes taken by one read, and the longest packet.
const INPUT_BYTES: usize = 256 * 1024;
/// Connections that one turn looks at.
const READY: usize = 1024;
/// The listener's number; connections have their index.
const LISTENER: u64 = u64::MAX;

/// One connection.
#[derive(Debug)]
struct Client {
    stream: TcpStream,
    /// The start of a packet whose rest has not come yet.
    cut: Vec<u8>,
    out: Vec<u8>,
    /// Whether the socket is watched for room to write.
    wants_write: bool,
    filters: Vec<Vec<u8>>,
}

/// Consecutive messages of one topic, as they stand in the input.
#[derive(Debug, Default)]
struct Run {
    topic: Range<usize>,
    messages: Range<usize>,
}

/// The server.
pub struct Relay {
    listener: TcpListener,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    clients: Vec<Option<Client>>,
    vacant: Vec<usize>,
    /// Who hears a topic, for every topic that was ever named.
    subscribers: HashMap<Vec<u8>, Vec<usize>>,
    /// Connections whose output waits for the end of the turn.
    waiting: Vec<usize>,
    input: Vec<u8>,
    last_packet_id: u16,
}

impl Relay {
    /// Listens on a port of 127.0.0.1; 0 takes a free one.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn bind(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        listener.set_nonblocking(true)?;
        // Accepted sockets inherit it, which saves a call each.
        sockopt::set_tcp_nodelay(&listener, true)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let number = epoll::EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, number, epoll::EventFlags::IN)?;
        Ok(Self {
            listener,
            epoll,
            events: Vec::with_capacity(READY),
            clients: Vec::new(),
            vacant: Vec::new(),
            subscribers: HashMap::new(),
            waiting: Vec::new(),
            input: vec![0; INPUT_BYTES],
            last_packet_id: 0,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for something to do, and does it.
    ///
    /// # Errors
    /// What accepting or waiting says; an error of a connection only ends that connection.
    pub fn turn(&mut self) -> io::Result<()> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let number = event.data.u64();
            if number == LISTENER {
                self.accept()?;
                continue;
            }
            let index = usize::try_from(number).unwrap_or(usize::MAX);
            let flags = event.flags;
            if flags.contains(epoll::EventFlags::OUT) {
                self.waiting.push(index);
            }
            // Errors and ends are seen by reading, too.
            if flags != epoll::EventFlags::OUT && !self.read(index) {
                self.close(index);
            }
        }
        self.events = events;
        for index in std::mem::take(&mut self.waiting) {
            if !self.flush(index) {
                self.close(index);
            }
        }
        Ok(())
    }

    /// Takes one connection; the next turn takes the next one, without a call that finds nothing.
    fn accept(&mut self) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let stream = match accept_with(&self.listener, flags) {
            Ok(socket) => TcpStream::from(socket),
            // The client has gone, or nobody was there.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNABORTED) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let index = self.vacant.pop().unwrap_or(self.clients.len());
        let number = epoll::EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &stream, number, epoll::EventFlags::IN)?;
        let client = Client {
            stream,
            cut: Vec::new(),
            out: Vec::new(),
            wants_write: false,
            filters: Vec::new(),
        };
        if index == self.clients.len() {
            self.clients.push(Some(client));
        } else {
            self.clients[index] = Some(client);
        }
        Ok(())
    }

    /// Reads a connection once and answers; returns whether it goes on.
    fn read(&mut self, index: usize) -> bool {
        let Some(Some(client)) = self.clients.get_mut(index) else {
            // It was closed earlier in this turn.
            return true;
        };
        let mut input = std::mem::take(&mut self.input);
        let kept = client.cut.len();
        input[..kept].copy_from_slice(&client.cut);
        client.cut.clear();
        let goes_on = match client.stream.read(&mut input[kept..]) {
            Ok(0) => false,
            Ok(size) => self.take(index, &mut input[..kept + size]) == Ok(true),
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        self.input = input;
        goes_on
    }

    /// Answers and copies every whole packet of `input`; returns whether the connection goes on.
    fn take(&mut self, index: usize, input: &mut [u8]) -> Result<bool, Malformed> {
        let (mut at, mut run, mut answer) = (0, Run::default(), Vec::new());
        while let Some((body, end)) = packet::bounds(input, at)? {
            match input[at] >> 4 {
                kind::PUBLISH => self.join(input, &mut run, (at, body, end), &mut answer)?,
                kind::DISCONNECT => {
                    self.copy(input, &run);
                    return Ok(false);
                }
                _ => self.answer(index, input, (at, body, end), &mut answer)?,
            }
            at = end;
        }
        self.copy(input, &run);
        let Some(Some(client)) = self.clients.get_mut(index) else {
            return Ok(true);
        };
        client.cut.extend_from_slice(&input[at..]);
        if client.cut.len() == INPUT_BYTES {
            return Err(Malformed);
        }
        if !answer.is_empty() {
            self.put(index, &answer);
        }
        Ok(true)
    }

    /// Acknowledges a PUBLISH and makes it part of the run, which is copied first if it is of another topic.
    fn join(
        &mut self,
        input: &mut [u8],
        run: &mut Run,
        (at, body, end): (usize, usize, usize),
        answer: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let publish = packet::publish(input, input[at], body, end)?;
        if publish.qos > 0 {
            let id = publish.packet_id_at;
            let ack = if publish.qos == 1 { 0x40 } else { 0x50 };
            answer.extend_from_slice(&[ack, 2, input[id], input[id + 1]]);
            // The same for every subscriber: more than 65,534 are never on the way to one of them.
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            input[id..id + 2].copy_from_slice(&self.last_packet_id.to_be_bytes());
        }
        input[at] &= !1;
        if run.messages.end == at && input[run.topic.clone()] == input[publish.topic.clone()] {
            run.messages.end = end;
            return Ok(());
        }
        self.copy(input, run);
        *run = Run {
            topic: publish.topic,
            messages: at..end,
        };
        Ok(())
    }

    /// Puts a run into the output of every subscriber of its topic.
    fn copy(&mut self, input: &[u8], run: &Run) {
        if run.messages.is_empty() {
            return;
        }
        let topic = &input[run.topic.clone()];
        if !self.subscribers.contains_key(topic) {
            self.name(topic);
        }
        let (targets, messages) = (&self.subscribers[topic], &input[run.messages.clone()]);
        let is_wide = targets.len() > 1;
        for &index in targets {
            let Some(Some(client)) = self.clients.get_mut(index) else {
                continue;
            };
            // To one of many it leaves at once: there is no need of a copy.
            let written = if is_wide && client.out.is_empty() {
                client.stream.write(messages).unwrap_or(0)
            } else {
                0
            };
            if written < messages.len() {
                client.put(&messages[written..], index, &mut self.waiting);
            }
        }
    }

    /// Answers what is no PUBLISH.
    fn answer(
        &mut self,
        index: usize,
        input: &[u8],
        (at, body, end): (usize, usize, usize),
        answer: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        match input[at] >> 4 {
            kind::CONNECT if input[body..end].starts_with(packet::PROTOCOL) => {
                answer.extend_from_slice(&packet::CONNACK);
            }
            kind::CONNECT => answer.extend_from_slice(&packet::CONNACK_VERSION),
            kind::SUBSCRIBE => {
                let filters = packet::filters(input, body, end)?;
                let id = packet::number(input, body, end)?.to_be_bytes();
                let length = u8::try_from(filters.len() + 2).map_err(|_| Malformed)?;
                answer.extend_from_slice(&[0x90, length, id[0], id[1]]);
                for (filter, qos) in filters {
                    answer.push(qos);
                    self.subscribe(index, filter);
                }
            }
            reply @ (kind::PUBREC | kind::PUBREL) => {
                let id = packet::number(input, body, end)?.to_be_bytes();
                let first = if reply == kind::PUBREC { 0x62 } else { 0x70 };
                answer.extend_from_slice(&[first, 2, id[0], id[1]]);
            }
            kind::PINGREQ => answer.extend_from_slice(&packet::PINGRESP),
            _ => {}
        }
        Ok(())
    }

    /// Adds a filter; its topics remember it, so that no message pays for a comparison.
    fn subscribe(&mut self, index: usize, filter: &[u8]) {
        if let Some(Some(client)) = self.clients.get_mut(index) {
            client.filters.push(filter.to_vec());
        }
        if !filter.contains(&b'+') && !self.subscribers.contains_key(filter) {
            self.name(filter);
        }
        for (topic, subscribers) in &mut self.subscribers {
            if packet::is_match(filter, topic) && !subscribers.contains(&index) {
                subscribers.push(index);
            }
        }
    }

    /// Makes a topic known, with everybody who hears it.
    fn name(&mut self, topic: &[u8]) {
        let clients = self.clients.iter().enumerate();
        let hears = |client: &Client| client.filters.iter().any(|f| packet::is_match(f, topic));
        let found = clients.filter(|(_, client)| client.as_ref().is_some_and(hears));
        let subscribers = found.map(|(index, _)| index).collect();
        self.subscribers.insert(topic.to_vec(), subscribers);
    }

    fn put(&mut self, index: usize, bytes: &[u8]) {
        if let Some(Some(client)) = self.clients.get_mut(index) {
            client.put(bytes, index, &mut self.waiting);
        }
    }

    /// Writes a connection once; returns whether it goes on.
    fn flush(&mut self, index: usize) -> bool {
        let Some(Some(client)) = self.clients.get_mut(index) else {
            return true;
        };
        match client.stream.write(&client.out) {
            Ok(size) if size == client.out.len() => client.out.clear(),
            Ok(size) => drop(client.out.drain(..size)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        let wants_write = !client.out.is_empty();
        if wants_write == client.wants_write {
            return true;
        }
        client.wants_write = wants_write;
        let mut flags = epoll::EventFlags::IN;
        flags.set(epoll::EventFlags::OUT, wants_write);
        let number = epoll::EventData::new_u64(index as u64);
        epoll::modify(&self.epoll, &client.stream, number, flags).is_ok()
    }

    /// Ends a connection and its subscriptions.
    fn close(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index).and_then(Option::take) else {
            return;
        };
        self.vacant.push(index);
        if !client.filters.is_empty() {
            for subscribers in self.subscribers.values_mut() {
                subscribers.retain(|one| *one != index);
            }
        }
    }
}

impl Client {
    /// Adds to the output; a connection whose output was empty waits for the end of the turn.
    fn put(&mut self, bytes: &[u8], index: usize, waiting: &mut Vec<usize>) {
        if self.out.is_empty() {
            waiting.push(index);
        }
        self.out.extend_from_slice(bytes);
    }
}
