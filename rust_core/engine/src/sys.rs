//! The system calls of the engine, through `rustix`; `unsafe` only where it has none.
//!
//! Everything is non-blocking. Sockets are registered edge-triggered once and not re-armed, so a message costs no
//! `epoll_ctl`; only one that is not to be read for a while is muted. Do not put policy here.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

/// The shortest turn on a core that Linux grants, in nanoseconds.
const SHORT_TURN_NS: u64 = 100_000;

/// Readiness reports taken per wait; what is left over comes with the next.
const BATCH: usize = 256;
/// What is reported of a socket whose input does not matter at the moment.
const UNREAD: EventFlags = EventFlags::OUT.union(EventFlags::RDHUP).union(EventFlags::ET);

/// What one non-blocking transfer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfer {
    /// So many bytes moved (at least 1).
    Bytes(usize),
    /// The socket has no data, or no room.
    WouldBlock,
    /// The peer closed its side (receive only).
    Eof,
    /// Reset, broken pipe or the like; the connection is over.
    Broken,
}

/// One readiness report.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// The number given at registration.
    pub token: u64,
    /// Data, end of stream or an error may be read.
    pub is_readable: bool,
    /// There is room again after a transfer that would have blocked.
    pub is_writable: bool,
    /// The peer has shut down its sending side, or the socket failed: one read more is needed to see it.
    pub is_hung_up: bool,
}

impl Ready {
    fn of(event: &epoll::Event) -> Self {
        let flags = event.flags;
        Self {
            token: event.data.u64(),
            is_readable: flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
            is_writable: flags.contains(EventFlags::OUT),
            is_hung_up: flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
        }
    }
}

/// An epoll instance.
pub struct Poller {
    epoll: OwnedFd,
    ready: Vec<Ready>,
}

impl Poller {
    /// Creates an instance.
    ///
    /// # Errors
    /// The system's error when no descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, ready: Vec::with_capacity(BATCH) })
    }

    /// Registers a socket for reading and writing, edge-triggered, for its whole life.
    ///
    /// # Errors
    /// The system's error, for example when the limit of watched descriptors is reached.
    pub fn add_socket(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), UNREAD | EventFlags::IN)?)
    }

    /// Reports a registered socket's input, or only its other events; input that waits already is reported anew.
    pub fn watch_input(&self, fd: BorrowedFd<'_>, token: u64, is_watched: bool) {
        let flags = if is_watched { UNREAD | EventFlags::IN } else { UNREAD };
        // Fails only for a socket that is not registered, and that one's connection is over.
        let _ = epoll::modify(&self.epoll, fd, EventData::new_u64(token), flags);
    }

    /// Registers a listening socket that several pollers share: one of them is woken.
    ///
    /// # Errors
    /// As [`Poller::add_socket`].
    pub fn add_listener(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN | EventFlags::EXCLUSIVE)?)
    }

    /// Registers a level-triggered descriptor that is only read (an eventfd).
    ///
    /// # Errors
    /// As [`Poller::add_socket`].
    pub fn add_waker(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)?)
    }

    /// Registers an alarm, edge-triggered: each ring is reported once and nothing has to be read.
    ///
    /// # Errors
    /// As [`Poller::add_socket`].
    pub fn add_alarm(&self, alarm: &Alarm, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, &alarm.fd, EventData::new_u64(token), EventFlags::IN | EventFlags::ET)?)
    }

    /// Removes a descriptor. One that is not registered is no error.
    pub fn remove(&self, fd: BorrowedFd<'_>) {
        // ENOENT means that it was never added or is gone already: both are what the caller wants.
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits for readiness: `None` waits without limit. Returns how many reports [`Poller::ready`] holds.
    ///
    /// # Errors
    /// The system's error, never `EINTR` (which reports 0).
    pub fn wait(&mut self, timeout_ms: Option<u64>) -> io::Result<usize> {
        self.ready.clear();
        let timeout = timeout_ms.map(timespec_of);
        let mut space = [const { MaybeUninit::uninit() }; BATCH];
        match epoll::wait(&self.epoll, &mut space, timeout.as_ref()) {
            Ok((events, _)) => self.ready.extend(events.iter().map(Ready::of)),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.ready.len())
    }

    /// The `index`-th report of the last wait.
    #[must_use]
    pub fn ready(&self, index: usize) -> Option<Ready> {
        self.ready.get(index).copied()
    }

    /// The instance itself, readable while reports wait: what an outer event loop watches.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// A counter that wakes a poller.
pub struct Waker {
    fd: OwnedFd,
}

impl Waker {
    /// Creates a waker.
    ///
    /// # Errors
    /// The system's error when no descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Makes the descriptor readable.
    pub fn wake(&self) {
        // A full counter (EAGAIN) is readable already, and no other error can happen on a live eventfd.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }

    /// Makes the descriptor unreadable until the next wake.
    pub fn clear(&self) {
        let mut counter = [0u8; 8];
        // EAGAIN: it was not readable, which is the state asked for.
        let _ = rustix::io::read(&self.fd, &mut counter);
    }

    /// The descriptor, for a poller.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Ends a wait without limit at a set time. A limit given to every wait would be armed and cancelled in the kernel each
/// time, which is 2 % of a message that travels alone; an alarm is armed once per time that it rings.
pub struct Alarm {
    fd: OwnedFd,
    at_ms: u64,
}

impl Alarm {
    /// Creates an alarm that is not set.
    ///
    /// # Errors
    /// The system's error when no descriptor is left.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self { fd: timerfd_create(TimerfdClockId::Monotonic, flags)?, at_ms: 0 })
    }

    /// Has it ring at `at_ms` or earlier: one that is still to ring before then is left as it is.
    ///
    /// # Errors
    /// The system's error.
    pub fn ring_by(&mut self, at_ms: u64, now_ms: u64) -> io::Result<()> {
        if self.at_ms > now_ms && self.at_ms <= at_ms {
            return Ok(());
        }
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        // Zero would stop the clock instead of ringing at once.
        let time = Itimerspec { it_interval: never, it_value: timespec_of(at_ms.max(1)) };
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &time)?;
        self.at_ms = at_ms;
        Ok(())
    }
}

fn timespec_of(ms: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from((ms % 1000) * 1_000_000).unwrap_or(0),
    }
}

/// Receives into a slice.
pub fn receive(fd: BorrowedFd<'_>, buf: &mut [u8]) -> Transfer {
    match recv(fd, buf, RecvFlags::empty()) {
        Ok((0, _)) => Transfer::Eof,
        Ok((n, _)) => Transfer::Bytes(n),
        Err(error) => of_error(error),
    }
}

/// Receives into the free capacity of a vector and extends its length.
pub fn receive_into(fd: BorrowedFd<'_>, buf: &mut Vec<u8>) -> Transfer {
    match recv(fd, spare_capacity(buf), RecvFlags::empty()) {
        Ok((0, _)) => Transfer::Eof,
        Ok((n, _)) => Transfer::Bytes(n),
        Err(error) => of_error(error),
    }
}

/// Sends one buffer.
#[must_use]
pub fn transmit(fd: BorrowedFd<'_>, buf: &[u8]) -> Transfer {
    match send(fd, buf, SendFlags::NOSIGNAL) {
        Ok(0) => Transfer::WouldBlock,
        Ok(n) => Transfer::Bytes(n),
        Err(error) => of_error(error),
    }
}

/// Sends several buffers in order with one call.
#[must_use]
pub fn transmit_all(fd: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> Transfer {
    match sendmsg(fd, parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL) {
        Ok(0) => Transfer::WouldBlock,
        Ok(n) => Transfer::Bytes(n),
        Err(error) => of_error(error),
    }
}

fn of_error(error: Errno) -> Transfer {
    match error {
        Errno::AGAIN | Errno::INTR | Errno::NOBUFS => Transfer::WouldBlock,
        _ => Transfer::Broken,
    }
}

/// Shuts down the sending side, so that the peer reads everything sent and then the end.
pub fn finish_sending(fd: BorrowedFd<'_>) {
    // ENOTCONN: the peer was faster; nothing is left to tell it.
    let _ = shutdown(fd, Shutdown::Write);
}

/// Switches a descriptor to non-blocking mode.
///
/// # Errors
/// The system's error.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(ioctl_fionbio(fd, true)?)
}

/// Milliseconds of the monotonic clock.
#[must_use]
pub fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds * 1000 + nanos / 1_000_000
}

/// Milliseconds of the wall clock since 1970, for what is shown to people.
#[must_use]
pub fn unix_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

/// Seconds of the wall clock since 1970, for times that clients name absolutely.
#[must_use]
pub fn unix_s() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    u64::try_from(now.tv_sec).unwrap_or(0)
}

/// Asks for short turns on a core for this thread: one that wakes up interrupts a thread whose turns are longer, instead
/// of waiting for the end of that turn. Its share of the core stays what it was, and no privilege is needed.
///
/// Linux knows this from 6.12 on, before it is without effect; so it is under a real-time policy.
///
/// # Errors
/// The system's error where the call is not permitted, for example by a filter of system calls.
pub fn ask_for_short_turns() -> io::Result<()> {
    let mut own = scheduling()?;
    let is_fair = i32::try_from(own.sched_policy).is_ok_and(|policy| policy == libc::SCHED_OTHER);
    if !is_fair {
        return Ok(());
    }
    own.sched_runtime = SHORT_TURN_NS;
    // SAFETY: thread 0 is the caller; `own` is a whole `sched_attr` that says its size, and is only read.
    let outcome = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const own, 0) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns how this thread is scheduled.
fn scheduling() -> io::Result<libc::sched_attr> {
    let size = size_of::<libc::sched_attr>();
    let mut own = MaybeUninit::<libc::sched_attr>::zeroed();
    // SAFETY: thread 0 is the caller; the system writes at most `size` bytes into `own`, which has as many.
    let outcome = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, own.as_mut_ptr(), size, 0) };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a struct of integers, of which every pattern of bits is one, and it was zeroed.
    Ok(unsafe { own.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_turns_are_those_of_the_thread_that_asks() {
        let before = scheduling().unwrap();
        let after = std::thread::spawn(|| {
            ask_for_short_turns().unwrap();
            scheduling().unwrap()
        });
        let after = after.join().unwrap();
        assert_eq!((after.sched_policy, after.sched_nice), (before.sched_policy, before.sched_nice));
        // Systems that do not know it say 0.
        assert!(matches!(after.sched_runtime, 0 | SHORT_TURN_NS));
        assert_eq!(scheduling().unwrap().sched_runtime, before.sched_runtime);
    }

    const PATIENCE_MS: Option<u64> = Some(10_000);

    #[test]
    fn an_alarm_rings_each_time_that_it_is_set() {
        let (mut poller, mut alarm) = (Poller::new().unwrap(), Alarm::new().unwrap());
        poller.add_alarm(&alarm, 7).unwrap();
        for _ in 0..3 {
            let now_ms = now_ms();
            alarm.ring_by(now_ms + 2, now_ms).unwrap();
            assert_eq!(poller.wait(PATIENCE_MS).unwrap(), 1);
            assert_eq!(poller.ready(0).map(|ready| ready.token), Some(7));
            assert!(super::now_ms() >= now_ms + 2);
            assert_eq!(poller.wait(Some(0)).unwrap(), 0);
        }
    }

    #[test]
    fn an_alarm_may_be_moved_forward_and_is_not_put_off() {
        let (mut poller, mut alarm) = (Poller::new().unwrap(), Alarm::new().unwrap());
        poller.add_alarm(&alarm, 7).unwrap();
        let now_ms = now_ms();
        alarm.ring_by(now_ms + 3_600_000, now_ms).unwrap();
        alarm.ring_by(now_ms + 2, now_ms).unwrap();
        alarm.ring_by(now_ms + 3_600_000, now_ms).unwrap();
        assert_eq!(poller.wait(PATIENCE_MS).unwrap(), 1);
    }
}
