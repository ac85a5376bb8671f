//! What ends a run. A run that ends with an error has no figures: half a measurement is worse than none.

use std::fmt;
use std::io;

/// Why a run could not be measured.
#[derive(Debug)]
pub enum LoadError {
    /// The operating system refused something; `doing` says what was tried.
    Io {
        doing: &'static str,
        source: io::Error,
    },
    /// The broker sent bytes that are no MQTT, WebSocket or TLS.
    Protocol(String),
    /// The broker refused a client or a subscription; `code` is its reason or return code.
    Refused { what: &'static str, code: u8 },
    /// The broker closed a connection that the run needs.
    Closed { client: usize },
    /// A step did not end within its bound.
    Timeout { step: &'static str, seconds: f64 },
    /// Settings that contradict each other.
    Settings(String),
}

impl LoadError {
    /// Returns a converter for `map_err` that remembers what was tried.
    pub fn io(doing: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// The same for the error numbers of `rustix`.
    pub fn errno(doing: &'static str) -> impl Fn(rustix::io::Errno) -> Self {
        move |errno| Self::Io {
            doing,
            source: errno.into(),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
            Self::Protocol(what) => write!(f, "protocol error: {what}"),
            Self::Refused { what, code } => write!(f, "{what} refused with code {code:#04x}"),
            Self::Closed { client } => write!(f, "the broker closed connection {client}"),
            Self::Timeout { step, seconds } => {
                write!(f, "{step} did not end within {seconds:.0} s")
            }
            Self::Settings(what) => write!(f, "settings: {what}"),
        }
    }
}

impl std::error::Error for LoadError {}
