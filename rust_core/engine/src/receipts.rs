//! Acknowledgements from a client. Those that stand one behind the other are carried out together: a burst of them takes
//! the session's lock once, which other shards may be waiting for.
//!
//! Whatever handles another packet calls [`Shard::settle_receipts`] first, so that order is kept.

use std::sync::Arc;

use pybroker_core::codec::{Ack, Packet};
use pybroker_core::reason::ReasonCode;
use pybroker_core::session::Pubrec;

use crate::connection::{Connection, Phase, Verdict};
use crate::counters::Metric;
use crate::session::{Session, State};
use crate::shard::Shard;

/// Which packet it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReceiptKind {
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
}

/// An acknowledgement that was read and not carried out yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receipt {
    kind: ReceiptKind,
    packet_id: u16,
    is_error: bool,
}

impl ReceiptKind {
    /// By the first byte of the packet.
    fn of(first: u8) -> Option<Self> {
        match first {
            0x40 => Some(Self::Puback),
            0x50 => Some(Self::Pubrec),
            0x62 => Some(Self::Pubrel),
            0x70 => Some(Self::Pubcomp),
            _ => None,
        }
    }

    fn metric(self) -> Metric {
        match self {
            Self::Puback => Metric::PubackReceived,
            Self::Pubrec => Metric::PubrecReceived,
            Self::Pubrel => Metric::PubrelReceived,
            Self::Pubcomp => Metric::PubcompReceived,
        }
    }
}

impl Shard {
    /// Takes the acknowledgements of one kind in their shortest form that `bytes` begin with. Returns their bytes and
    /// number; `None`: what stands there needs to be looked at by itself.
    pub(crate) fn take_receipts(&mut self, conn: &Connection, bytes: &[u8]) -> Option<(usize, u64)> {
        let [first, 2, ..] = *bytes else { return None };
        let kind = ReceiptKind::of(first)?;
        let is_simple = conn.phase == Phase::Open
            && conn.buckets.is_none()
            && conn.held.is_empty()
            && self.dispatcher.outlet.traces.is_none();
        if !is_simple || !matches!(conn.decoder.packet_len(bytes), Ok(Some(_))) {
            return None;
        }
        let before = self.receipts.len();
        for &[first_too, length, high, low] in bytes.as_chunks().0 {
            let packet_id = u16::from_be_bytes([high, low]);
            if (first_too, length) != (first, 2) || packet_id == 0 {
                break;
            }
            self.receipts.push(Receipt { kind, packet_id, is_error: false });
        }
        let n = self.receipts.len() - before;
        self.dispatcher.outlet.tally.add(kind.metric(), n as u64);
        (n > 0).then_some((4 * n, n as u64))
    }

    /// Takes an acknowledgement.
    pub(crate) fn on_receipt(&mut self, conn: &mut Connection, kind: ReceiptKind, ack: &Ack<'_>) -> Verdict {
        self.dispatcher.outlet.tally.count(kind.metric());
        self.receipts.push(Receipt { kind, packet_id: ack.packet_id, is_error: ack.reason.is_error() });
        if kind == ReceiptKind::Pubrel && !conn.held.is_empty() {
            self.settle_receipts(conn);
            return self.let_go(conn);
        }
        Verdict::Continue
    }

    /// Carries out what was taken since the last call.
    pub(crate) fn settle_receipts(&mut self, conn: &mut Connection) {
        if self.receipts.is_empty() {
            return;
        }
        let mut receipts = std::mem::take(&mut self.receipts);
        let open = self.with_window(conn, |shard, session, state| {
            let mut has_made_room = false;
            for &receipt in &receipts {
                has_made_room |= shard.settle(conn, session, state, receipt);
            }
            if has_made_room {
                shard.pump(session, state);
            }
            state.window.inbound_len()
        });
        if let Some(open) = open {
            conn.open_qos2 = u16::try_from(open).unwrap_or(u16::MAX);
        }
        self.bound_answers(conn);
        receipts.clear();
        self.receipts = receipts;
    }

    /// Carries out one. Returns whether the window has room for one message more.
    fn settle(&mut self, conn: &Connection, session: &Arc<Session>, state: &mut State, receipt: Receipt) -> bool {
        let packet_id = receipt.packet_id;
        match receipt.kind {
            ReceiptKind::Puback => {
                self.dispatcher.outlet.note_answer(session, state, packet_id);
                let is_known = state.window.on_puback(packet_id).is_some();
                self.count_end(is_known, Metric::PubackMissed)
            }
            ReceiptKind::Pubrec => {
                self.dispatcher.outlet.note_answer(session, state, packet_id);
                self.settle_pubrec(conn, state, receipt)
            }
            ReceiptKind::Pubrel => {
                let reason = if state.window.inbound_release(packet_id) {
                    ReasonCode::Success
                } else {
                    self.dispatcher.outlet.tally.count(Metric::PubrelMissed);
                    ReasonCode::PacketIdentifierNotFound
                };
                self.put_answer(conn, &Packet::Pubcomp(Ack::new(packet_id, reason))); // [MQTT5-4.3.3-11]
                false
            }
            ReceiptKind::Pubcomp => {
                let is_known = state.window.on_pubcomp(packet_id);
                self.count_end(is_known, Metric::PubcompMissed)
            }
        }
    }

    fn settle_pubrec(&mut self, conn: &Connection, state: &mut State, receipt: Receipt) -> bool {
        match state.window.on_pubrec(receipt.packet_id, receipt.is_error) {
            Pubrec::Release => {
                self.put_answer(conn, &Packet::Pubrel(Ack::new(receipt.packet_id, ReasonCode::Success)));
                false
            }
            Pubrec::Unknown => {
                self.dispatcher.outlet.tally.count(Metric::PubrecMissed);
                if !receipt.is_error {
                    let reason = ReasonCode::PacketIdentifierNotFound;
                    self.put_answer(conn, &Packet::Pubrel(Ack::new(receipt.packet_id, reason)));
                }
                false
            }
            Pubrec::Ended(_) => true,
        }
    }

    fn count_end(&mut self, is_known: bool, missed: Metric) -> bool {
        self.dispatcher.outlet.tally.count(if is_known { Metric::MessagesAcked } else { missed });
        is_known
    }
}
