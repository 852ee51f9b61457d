//! What goes to a client: sections with numbers of their own, whoever occupies them, and what was sent kept for repairs (RFC 4588).

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant, SystemTime},
};

use roomful_srtp::{Sealer, StreamHandle};
use roomful_types::{Codec, MediaKind, Mid};
use rtcp_types::{ReportBlock, SenderReport, SenderReportBuilder};

use super::{
    Measure, SentPacket,
    header::{ExtensionIds, Extensions, Header},
    ntp,
};

/// Everything that goes to one client.
#[derive(Debug, Default)]
pub(super) struct Sender {
    slots: BTreeMap<Mid, Slot>,
    by_ssrc: BTreeMap<u32, Mid>,
    /// Numbers packets over the whole transport.
    next_transport: u16,
    round_trip_time: Option<Duration>,
}

/// One section that the server sends on.
#[derive(Debug)]
struct Slot {
    ssrc: u32,
    repair_ssrc: Option<u32>,
    cname: String,
    kind: MediaKind,
    /// Of each codec, and of its repairs.
    payload_types: BTreeMap<Codec, (u8, Option<u8>)>,
    /// Where it is sealed, and where its repairs are, once there are keys.
    streams: Option<(StreamHandle, Option<StreamHandle>)>,
    next_repair: u64,
    /// In the order of their sequence numbers.
    history: VecDeque<Kept>,
    /// Bytes that may be sent again; grows with what is sent.
    allowance: usize,
    packets: u64,
    octets: u64,
    /// What was sent at the latest measure.
    measured: u64,
    latest: Option<Latest>,
    report_at: Option<Instant>,
    /// What the receiver reported last; before that it is told the section in every packet.
    heard: Option<Heard>,
}

#[derive(Debug, Clone, Copy)]
struct Latest {
    timestamp: u32,
    clock_rate: u32,
    captured: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    highest: u64,
    fraction_lost: f32,
    jitter: u32,
}

/// A packet that may be asked for again.
#[derive(Debug)]
struct Kept {
    packet: SentPacket,
    sent_at: Instant,
    tries: u8,
}

/// Packets of one video section kept for repairs, and for how long: two round trips of a bad network at 2.5 Mbit/s.
const HISTORY_PACKETS: usize = 512;
const HISTORY_TIME: Duration = Duration::from_secs(2);

/// How often one packet is sent again.
const TRIES: u8 = 5;

/// Repairs may be half of what is sent: that lets a link through which loses a third, and bounds what a flood of requests can cause.
/// So many bytes may be saved up, a key frame of 720p.
const ALLOWANCE_MAX: usize = 128 * 1024;

/// A packet is not sent again within a round trip: the first one is still on its way. So long while that is not known.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// How often the time of media is reported (RFC 3550 §6.4.1). A receiver cannot put sound and picture in step before the first.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

impl Sender {
    /// Notes a section that the client receives on; once for each.
    pub(super) fn add_section(
        &mut self,
        mid: Mid,
        kind: MediaKind,
        (ssrc, repair_ssrc): (u32, Option<u32>),
        cname: &str,
        payload_types: BTreeMap<Codec, (u8, Option<u8>)>,
    ) {
        self.by_ssrc.insert(ssrc, mid);
        self.slots.entry(mid).or_insert_with(|| Slot {
            ssrc,
            repair_ssrc,
            cname: cname.to_owned(),
            kind,
            payload_types,
            streams: None,
            next_repair: 1,
            history: VecDeque::new(),
            allowance: ALLOWANCE_MAX / 2,
            packets: 0,
            octets: 0,
            measured: 0,
            latest: None,
            report_at: None,
            heard: None,
        });
    }

    /// Gives every section that has none yet its place in the sealer.
    pub(super) fn bind(&mut self, sealer: &mut Sealer) {
        for slot in self.slots.values_mut().filter(|slot| slot.streams.is_none()) {
            // A source that is there already would be str0m's mistake; nothing is sent on that section then.
            let main = sealer.add_stream(slot.ssrc).ok();
            let repair = slot.repair_ssrc.and_then(|ssrc| sealer.add_stream(ssrc).ok());
            slot.streams = main.map(|main| (main, repair));
        }
    }

    /// Returns a source to speak for in reports that are about others.
    pub(super) fn own_ssrc(&self) -> u32 {
        self.slots.values().next().map_or(1, |slot| slot.ssrc)
    }

    /// Returns the section of a source.
    pub(super) fn section(&self, ssrc: u32) -> Option<Mid> {
        self.by_ssrc.get(&ssrc).copied()
    }

    /// Makes the datagram of a packet; none when it cannot be sent on its section.
    pub(super) fn send(
        &mut self,
        packet: SentPacket,
        ids: &ExtensionIds,
        sealer: &mut Sealer,
        now: Instant,
    ) -> Option<Vec<u8>> {
        let slot = self.slots.get_mut(&packet.mid)?;
        let (stream, _) = slot.streams?;
        let (payload_type, _) = *slot.payload_types.get(&packet.codec)?;
        let one = &packet.packet;
        let extensions = Extensions {
            mid: slot.heard.is_none().then_some(packet.mid),
            transport_sequence: next_transport(&mut self.next_transport, ids),
            audio_level: one.audio_level,
            ..Extensions::default()
        };
        let header = Header {
            payload_type,
            marker: one.marker,
            sequence: one.sequence as u16,
            timestamp: one.timestamp,
            ssrc: slot.ssrc,
            extensions,
        };
        let datagram = seal(&header, ids, &[&one.payload], sealer, stream, one.sequence)?;
        slot.packets += 1;
        slot.octets += one.payload.len() as u64;
        slot.allowance = (slot.allowance + one.payload.len() / 2).min(ALLOWANCE_MAX);
        let is_news = slot.latest.is_none_or(|latest| latest.captured.is_none());
        let clock_rate = packet.codec.clock_rate();
        slot.latest = Some(Latest { timestamp: one.timestamp, clock_rate, captured: one.captured });
        if is_news && one.captured.is_some() {
            slot.report_at = Some(now);
        }
        if slot.repair_ssrc.is_some() {
            let sequence = packet.packet.sequence;
            let place = slot.history.partition_point(|kept| kept.packet.packet.sequence < sequence);
            slot.history.insert(place, Kept { packet, sent_at: now, tries: 0 });
            let is_old = |kept: &Kept| now.saturating_duration_since(kept.sent_at) > HISTORY_TIME;
            while slot.history.len() > HISTORY_PACKETS || slot.history.front().is_some_and(is_old) {
                slot.history.pop_front();
            }
        }
        Some(datagram)
    }

    /// Makes the datagrams that repair what a receiver asks for.
    pub(super) fn repair(
        &mut self,
        ssrc: u32,
        numbers: impl Iterator<Item = u16>,
        ids: &ExtensionIds,
        sealer: &mut Sealer,
        now: Instant,
    ) -> Vec<Vec<u8>> {
        let round_trip = self.round_trip_time.unwrap_or(ROUND_TRIP);
        let slot = self.by_ssrc.get(&ssrc).and_then(|mid| self.slots.get_mut(mid));
        let Some(slot) = slot else { return Vec::new() };
        let (Some((_, Some(stream))), Some(repair_ssrc)) = (slot.streams, slot.repair_ssrc) else {
            return Vec::new();
        };
        let mut datagrams = Vec::new();
        // More than are kept cannot be asked for in earnest.
        for number in numbers.take(HISTORY_PACKETS) {
            let Some(newest) = slot.history.back().map(|kept| kept.packet.packet.sequence) else { break };
            let behind = (newest as u16).wrapping_sub(number);
            let place = slot.history.binary_search_by_key(&newest.checked_sub(behind.into()), |kept| {
                Some(kept.packet.packet.sequence)
            });
            let Some(kept) = place.ok().and_then(|place| slot.history.get_mut(place)) else { continue };
            let one = &kept.packet.packet;
            let is_early = now.saturating_duration_since(kept.sent_at) < round_trip;
            if kept.tries == TRIES || (kept.tries > 0 && is_early) || slot.allowance < one.payload.len() {
                continue;
            }
            let payload_type = slot.payload_types.get(&kept.packet.codec).and_then(|(_, repair)| *repair);
            let Some(payload_type) = payload_type else { continue };
            let sequence = slot.next_repair;
            let header = Header {
                payload_type,
                marker: one.marker,
                sequence: sequence as u16,
                timestamp: one.timestamp,
                ssrc: repair_ssrc,
                extensions: Extensions {
                    mid: slot.heard.is_none().then_some(kept.packet.mid),
                    transport_sequence: next_transport(&mut self.next_transport, ids),
                    ..Extensions::default()
                },
            };
            let payload = [&number.to_be_bytes()[..], &one.payload];
            let Some(datagram) = seal(&header, ids, &payload, sealer, stream, sequence) else { continue };
            slot.next_repair += 1;
            slot.allowance -= one.payload.len();
            kept.tries += 1;
            kept.sent_at = now;
            datagrams.push(datagram);
        }
        datagrams
    }

    /// Drops what was sent on a section: none of it is sent again. Its next occupant has a time of its own.
    pub(super) fn forget_history(&mut self, mid: Mid) {
        if let Some(slot) = self.slots.get_mut(&mid) {
            slot.history.clear();
            slot.latest = None;
            slot.report_at = None;
        }
    }

    /// Takes in what a receiver says of one of our sources.
    pub(super) fn on_report(&mut self, block: &ReportBlock<'_>, now: u64) {
        let slot = self.by_ssrc.get(&block.ssrc()).and_then(|mid| self.slots.get_mut(mid));
        let Some(slot) = slot else { return };
        slot.heard = Some(Heard {
            highest: block.extended_sequence_number().into(),
            fraction_lost: f32::from(block.fraction_lost()) / 256.0,
            jitter: block.interarrival_jitter(),
        });
        let (sent, held) =
            (block.last_sender_report_timestamp(), block.delay_since_last_sender_report_timestamp());
        if sent != 0 {
            let units = ntp::middle(now).wrapping_sub(sent).wrapping_sub(held);
            // Clocks of two machines differ by a little: what would be negative is none.
            if units.cast_signed() >= 0 {
                self.round_trip_time = Some(ntp::from_short(units));
            }
        }
    }

    /// Returns the reports of every section whose time has come, each with the name of its sender.
    ///
    /// * `wall`: what time it is.
    pub(super) fn take_reports(
        &mut self,
        now: Instant,
        wall: SystemTime,
    ) -> Vec<(SenderReportBuilder, u32, String)> {
        let mut reports = Vec::new();
        for slot in self.slots.values_mut().filter(|slot| slot.report_at.is_some_and(|at| at <= now)) {
            slot.report_at = None;
            let Some(Latest { timestamp, clock_rate, captured: Some(captured) }) = slot.latest else {
                continue;
            };
            slot.report_at = Some(now + REPORT_INTERVAL);
            let ticks = |passed: Duration| (passed.as_secs_f64() * f64::from(clock_rate)) as u64 as u32;
            let (later, earlier) =
                (now.saturating_duration_since(captured), captured.saturating_duration_since(now));
            let report = SenderReport::builder(slot.ssrc)
                .ntp_timestamp(ntp::from_system_time(wall))
                .rtp_timestamp(timestamp.wrapping_add(ticks(later)).wrapping_sub(ticks(earlier)))
                .packet_count(slot.packets as u32)
                .octet_count(slot.octets as u32);
            reports.push((report, slot.ssrc, slot.cname.clone()));
        }
        reports
    }

    /// Returns when the next report is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.slots.values().filter_map(|slot| slot.report_at).min()
    }

    /// Returns how every section does that something was sent on.
    pub(super) fn measure(&mut self) -> Vec<Measure> {
        let round_trip_time = self.round_trip_time;
        let used = self.slots.iter_mut().filter(|(_, slot)| slot.packets > 0);
        used.map(|(mid, slot)| {
            if slot.packets == slot.measured {
                // Nothing goes out, and there is nothing to report about.
                slot.report_at = None;
                slot.latest = None;
            }
            slot.measured = slot.packets;
            let clock_rate =
                if slot.kind == MediaKind::Audio { Codec::Opus } else { Codec::Vp8 }.clock_rate();
            let jitter = slot.heard.map_or(0, |heard| heard.jitter);
            Measure {
                mid: *mid,
                is_inbound: false,
                packets: slot.packets,
                progress: slot.heard.map_or(0, |heard| heard.highest),
                fraction_lost: slot.heard.map_or(0.0, |heard| heard.fraction_lost),
                jitter: Duration::from_secs_f64(f64::from(jitter) / f64::from(clock_rate)),
                round_trip_time,
            }
        })
        .collect()
    }
}

fn next_transport(next: &mut u16, ids: &ExtensionIds) -> Option<u16> {
    if !ids.has_transport_sequence() {
        return None;
    }
    *next = next.wrapping_add(1);
    Some(*next)
}

/// Writes and seals a packet.
fn seal(
    header: &Header,
    ids: &ExtensionIds,
    payload: &[&[u8]],
    sealer: &mut Sealer,
    stream: StreamHandle,
    index: u64,
) -> Option<Vec<u8>> {
    let size: usize = payload.iter().map(|part| part.len()).sum();
    let mut datagram = Vec::with_capacity(size + OVERHEAD);
    header.write(ids, &mut datagram);
    payload.iter().for_each(|part| datagram.extend_from_slice(part));
    let length = datagram.len();
    datagram.resize(length + TAG_MAX, 0);
    match sealer.seal_rtp(stream, index, &mut datagram, length) {
        Ok(end) => {
            datagram.truncate(end);
            Some(datagram)
        }
        Err(error) => {
            tracing::debug!(%error, "packet not sent");
            None
        }
    }
}

/// The longest tag of any profile.
const TAG_MAX: usize = 16;
/// Header, extensions and tag.
const OVERHEAD: usize = 64;
