//! `pybroker-relay`: an epoll server that moves MQTT messages and knows nothing else. It is no broker.
//!
//! It shows what one thread, one epoll and the kernel cost on a machine, the floor below every broker's figures. A
//! topic is a string in one table; there are no sessions, rights, retained messages, limits or retransmissions.

mod packet;
mod relay;

use std::io;
use std::process::ExitCode;

use clap::Parser;

use crate::relay::Relay;

/// Relays MQTT 3.1.1 messages between the clients of one loopback port, without any logic of a broker.
#[derive(Debug, Parser)]
#[command(name = "pybroker-relay", version)]
struct Options {
    /// Port of 127.0.0.1; 0 takes a free one. The address is printed.
    #[arg(long, default_value_t = 1883)]
    port: u16,
}

fn main() -> ExitCode {
    let Err(error) = serve(&Options::parse());
    eprintln!("pybroker-relay: {error}");
    ExitCode::FAILURE
}

fn serve(options: &Options) -> io::Result<std::convert::Infallible> {
    let mut relay = Relay::bind(options.port)?;
    println!("{}", relay.address()?);
    loop {
        relay.turn()?;
    }
}
