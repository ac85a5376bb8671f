//! Publishes a fixed number of acknowledged messages over one connection: the setting-up of retained and queued runs.

use std::time::{Duration, Instant};

use crate::error::LoadError;
use crate::fleet::Fleet;
use crate::settings::Settings;
use crate::wire::{self, Inbound, kind};

/// Publishes on the way; below the receive maximum of every peer (mosquitto: 20).
const WINDOW: u64 = 16;

/// Publishes `total` messages at QoS 1 or 2 and waits until all are acknowledged.
///
/// `append` writes the message with this number and packet id.
///
/// # Errors
/// `LoadError::Refused` for the first refused message, `LoadError::Timeout` after `step_limit`.
pub fn feed(
    fleet: &mut Fleet,
    settings: &Settings,
    link: usize,
    total: u64,
    append: &mut impl FnMut(u64, u16, &mut Vec<u8>),
) -> Result<(), LoadError> {
    let deadline = Instant::now() + Duration::from_secs_f64(settings.step_limit);
    let (mut sent, mut settled) = (0, 0);
    while settled < total {
        while sent < total && sent - settled < WINDOW {
            let packet_id = u16::try_from(sent % 60_000 + 1).unwrap_or(1);
            append(sent, packet_id, &mut fleet.link(link).out);
            sent += 1;
        }
        fleet.flush(link)?;
        fleet.turn(Some(Duration::from_millis(100)), &mut |_, link, packet| {
            match packet {
                Inbound::Ack {
                    code: code @ 0x80..,
                    ..
                } => {
                    return Err(LoadError::Refused {
                        what: "message",
                        code,
                    });
                }
                Inbound::Ack {
                    kind: kind::PUBREC,
                    packet_id,
                    ..
                } => {
                    wire::put_ack(&mut link.out, kind::PUBREL, packet_id);
                }
                Inbound::Ack { .. } => settled += 1,
                _ => {}
            }
            Ok(())
        })?;
        if Instant::now() > deadline {
            return Err(LoadError::Timeout {
                step: "publishing",
                seconds: settings.step_limit,
            });
        }
    }
    Ok(())
}
