//! Persistent sessions: messages queue while their client is away and must come back complete and in order.

use std::time::{Duration, Instant};

use crate::error::LoadError;
use crate::feed::feed;
use crate::fleet::{ClientPlan, Fleet};
use crate::link::Link;
use crate::meter::{self, Meter};
use crate::report::Report;
use crate::settings::Settings;
use crate::tally::Stream;
use crate::wire::{self, Inbound, PublishTemplate, Stamp, kind};

/// Longest life of the sessions of a run whose cleaning failed.
const SESSION_EXPIRY_S: u32 = 3600;

/// `connections` sessions go offline, get `messages` each, and come back for them.
///
/// # Errors
/// The first refusal or error of a socket, or a step that stands still.
pub fn run(settings: &Settings) -> Result<Report, LoadError> {
    if settings.qos == 0 {
        return Err(LoadError::Settings("queued needs --qos 1 or 2".into()));
    }
    let mut report = Report::new(settings);
    let sessions = settings.connections;
    let total = settings.messages * sessions as u64;
    let mut fleet = Fleet::new(settings, sessions + 1)?;
    let first = fleet.open_all(&plans(settings, false))?;
    let filters = (0..sessions).map(|session| vec![topic(settings, session)]);
    fleet.subscribe_all((first..).zip(filters).collect(), settings.qos)?;
    fleet.close_all(first..first + sessions)?;
    meter::settle(&settings.pids)?;
    eprintln!("measuring");

    let queueing = Meter::start(&settings.pids)?;
    publish(&mut fleet, settings)?;
    let queued = queueing.stop()?;
    report.figures.set(
        "cpu_us_per_queued",
        queued.broker_cpu_s * 1e6 / total as f64,
    );
    report
        .figures
        .set("queued_rate_per_s", total as f64 / queued.seconds);
    meter::settle(&settings.pids)?;
    report
        .figures
        .set("bytes_per_queued", queueing.stop()?.growth_per(total));

    let replaying = Meter::start(&settings.pids)?;
    let streams = replay(&mut fleet, settings)?;
    replaying
        .stop()?
        .report("delivery", total, &mut report.figures);
    report.balance.sent = total;
    report.balance.expected = total;
    for stream in streams {
        report.balance.counts += stream.finish(settings.messages);
    }
    // A clean start removes what the broker kept.
    let last = fleet.open_all(&plans(settings, true))?;
    fleet.close_all(last..last + sessions)?;
    Ok(report)
}

fn plans(settings: &Settings, is_clean: bool) -> Vec<ClientPlan> {
    let plan = |session: usize| ClientPlan {
        client_id: format!("{}-q{session}", settings.prefix),
        is_clean,
        session_expiry_s: if is_clean { 0 } else { SESSION_EXPIRY_S },
    };
    (0..settings.connections).map(plan).collect()
}

fn topic(settings: &Settings, session: usize) -> String {
    format!("{}/queue/{session}", settings.prefix)
}

/// Sends every message of every session, sessions in turn.
fn publish(fleet: &mut Fleet, settings: &Settings) -> Result<(), LoadError> {
    let link = fleet.open_all(&[ClientPlan::clean(format!("{}-qp", settings.prefix))])?;
    let sessions = settings.connections as u64;
    let shape = settings.publish_shape();
    let templates: Vec<_> = (0..settings.connections)
        .map(|s| PublishTemplate::new(&topic(settings, s), shape))
        .collect();
    feed(
        fleet,
        settings,
        link,
        settings.messages * sessions,
        &mut |number, packet_id, out| {
            let stamp = Stamp {
                sequence: number / sessions,
                ..Stamp::default()
            };
            templates[usize::try_from(number % sessions).unwrap_or(0)]
                .append(out, packet_id, &stamp);
        },
    )?;
    fleet.close(link)
}

/// Brings every session back and receives until all is there or two seconds are quiet.
fn replay(fleet: &mut Fleet, settings: &Settings) -> Result<Vec<Stream>, LoadError> {
    let plans = plans(settings, false);
    let total = settings.messages * plans.len() as u64;
    let first = fleet.open(&plans[0])?;
    for plan in &plans[1..] {
        fleet.open(plan)?;
    }
    let mut streams: Vec<_> = plans.iter().map(|_| Stream::default()).collect();
    let (mut received, mut last) = (0, Instant::now());
    while received < total && last.elapsed() < Duration::from_secs(2) {
        let patience = if settings.spins() {
            Duration::ZERO
        } else {
            Duration::from_millis(5)
        };
        let ready = fleet.turn(Some(patience), &mut |index, link, packet| {
            received += u64::from(take(&mut streams[index - first], link, &packet));
            Ok(())
        })?;
        if ready > 0 {
            last = Instant::now();
        }
    }
    fleet.close_all(first..first + plans.len())?;
    Ok(streams)
}

/// Records and acknowledges one packet of a returned session; returns whether it was a message.
fn take(stream: &mut Stream, link: &mut Link, packet: &Inbound<'_>) -> bool {
    match *packet {
        Inbound::Publish {
            qos,
            packet_id,
            payload,
        } => {
            if let Some(stamp) = Stamp::decode(payload) {
                stream.record(stamp.sequence);
            }
            wire::put_ack(
                &mut link.out,
                if qos == 2 { kind::PUBREC } else { kind::PUBACK },
                packet_id,
            );
            true
        }
        Inbound::Ack {
            kind: kind::PUBREL,
            packet_id,
            ..
        } => {
            wire::put_ack(&mut link.out, kind::PUBCOMP, packet_id);
            false
        }
        _ => false,
    }
}
