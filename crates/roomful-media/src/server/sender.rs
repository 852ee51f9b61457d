//! What goes to a client: sections with numbers of their own, whoever occupies them, and repairs of what was sent (RFC 4588).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use roomful_srtp::{Sealer, StreamHandle};
use roomful_types::{Bitrate, Codec, MediaKind, Mid};
use rtcp_types::{ReportBlock, Twcc};

use super::{
    Measure, SentPacket,
    departures::{Departures, Traffic},
    header::{ExtensionIds, Extensions, Header},
    ntp,
    outgoing::Lane,
    receiver::SenderTime,
    reports::{self, Bundle},
};

/// Everything that goes to one client.
#[derive(Debug, Default)]
pub(super) struct Sender {
    slots: Vec<Slot>,
    /// The slot that was sent on last.
    latest: usize,
    by_ssrc: BTreeMap<u32, Mid>,
    departures: Departures,
    round_trip_time: Option<Duration>,
    /// Not later than the first report of a section.
    report_at: Option<Instant>,
}

/// Where and how everything to one client is sealed.
pub(super) struct Wire<'a> {
    pub(super) ids: &'a ExtensionIds,
    /// When everything leaves, as packets say it where they are not numbered over the whole transport.
    pub(super) send_time: u32,
    pub(super) sealer: &'a mut Sealer,
    pub(super) outgoing: Lane<'a>,
}

/// One section that the server sends on.
#[derive(Debug)]
struct Slot {
    mid: Mid,
    ssrc: u32,
    repair_ssrc: Option<u32>,
    /// Who it is, as it stands in every report.
    description: Vec<u8>,
    kind: MediaKind,
    /// Of each codec that was negotiated, and of its repairs.
    payload_types: Vec<(Codec, u8, Option<u8>)>,
    stamp: Stamp,
    /// Where it is sealed, and where its repairs are, once there are keys.
    streams: Option<(StreamHandle, Option<StreamHandle>)>,
    next_repair: u64,
    packets: u64,
    octets: u64,
    /// What was sent at the latest measure.
    measured: u64,
    latest: Option<Latest>,
    report_at: Option<Instant>,
    /// What the receiver reported last; before that it is told the section in every packet.
    heard: Option<Heard>,
    /// Whether it reported about repairs; before that every one says of which section it is.
    repairs_are_known: bool,
    /// The latest sender reports, by what receivers repeat of them.
    sent_reports: [u32; REPORTS_KEPT],
    next_report: usize,
}

/// What the packets of a section say of their way, as was negotiated for it. Firefox asks for no numbers on audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp {
    /// Their number over the whole transport.
    Number,
    /// When they leave: receivers need one of the two, not both.
    Time,
    Nothing,
}

#[derive(Debug, Clone, Copy)]
struct Latest {
    timestamp: u32,
    clock_rate: u32,
    captured: Option<Instant>,
}

impl Latest {
    /// Returns whether another packet of the same frame says nothing new.
    fn is_of(&self, timestamp: u32, captured: Option<Instant>) -> bool {
        self.timestamp == timestamp && self.captured.is_some() == captured.is_some()
    }

    /// Returns whether a later packet's timestamp means the time that it would after this one.
    fn predicts(&self, later: &Self) -> bool {
        let (Some(before), Some(after)) = (self.captured, later.captured) else { return false };
        let ticks = |time: Duration| {
            let whole = time.as_secs().wrapping_mul(self.clock_rate.into());
            whole.wrapping_add(u64::from(time.subsec_micros()) * u64::from(self.clock_rate) / 1_000_000)
                as u32
        };
        let passed = match after.checked_duration_since(before) {
            Some(later) => ticks(later),
            None => 0_u32.wrapping_sub(ticks(before - after)),
        };
        let jump = later.timestamp.wrapping_sub(self.timestamp).wrapping_sub(passed).cast_signed();
        jump.unsigned_abs() <= self.clock_rate / JUMP
    }
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    highest: u64,
    fraction_lost: f32,
    jitter: u32,
}

/// A packet is not sent again within a round trip: the first one is still on its way. So long while that is not known.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// A timestamp that means another time than before by more than this part of a second is reported at once: sound and picture would be out of
/// step.
const JUMP: u32 = 50;

/// Sender reports that receivers may still speak of.
const REPORTS_KEPT: usize = 8;

/// How often the time of media is reported (RFC 3550 §6.4.1). A receiver cannot put sound and picture in step before the first.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

impl Sender {
    /// Notes a section that the client receives on; once for each.
    pub(super) fn add_section(
        &mut self,
        (mid, kind): (Mid, MediaKind),
        (ssrc, repair_ssrc): (u32, Option<u32>),
        cname: &str,
        payload_types: Vec<(Codec, u8, Option<u8>)>,
        stamp: Stamp,
    ) {
        self.by_ssrc.insert(ssrc, mid);
        self.by_ssrc.extend(repair_ssrc.map(|ssrc| (ssrc, mid)));
        if self.slot(mid).is_some() {
            return;
        }
        self.slots.push(Slot {
            mid,
            ssrc,
            repair_ssrc,
            description: reports::description(ssrc, cname),
            kind,
            payload_types,
            stamp,
            streams: None,
            next_repair: 1,
            packets: 0,
            octets: 0,
            measured: 0,
            latest: None,
            report_at: None,
            heard: None,
            repairs_are_known: false,
            sent_reports: [0; REPORTS_KEPT],
            next_report: 0,
        });
    }

    /// Gives every section that has none yet its place in the sealer.
    pub(super) fn bind(&mut self, sealer: &mut Sealer) {
        for slot in self.slots.iter_mut().filter(|slot| slot.streams.is_none()) {
            // A source that is there already would be str0m's mistake; nothing is sent on that section then.
            let main = sealer.add_stream(slot.ssrc).ok();
            let repair = slot.repair_ssrc.and_then(|ssrc| sealer.add_stream(ssrc).ok());
            slot.streams = main.map(|main| (main, repair));
        }
    }

    #[cfg(any(test, feature = "__fuzz"))]
    pub(super) fn sources(&self) -> impl Iterator<Item = u32> {
        self.by_ssrc.keys().copied()
    }

    #[cfg(test)]
    pub(super) fn is_pair(&self, ssrc: u32, repair: u32) -> bool {
        self.slots.iter().any(|slot| slot.ssrc == ssrc && slot.repair_ssrc == Some(repair))
    }

    #[cfg(test)]
    pub(super) fn description(&self, ssrc: u32) -> Option<&[u8]> {
        self.slots.iter().find(|slot| slot.ssrc == ssrc).map(|slot| &slot.description[..])
    }

    /// Returns the section that a source is the media of; repairs are not.
    pub(super) fn section(&self, ssrc: u32) -> Option<Mid> {
        let mid = *self.by_ssrc.get(&ssrc)?;
        self.slots.iter().any(|slot| slot.ssrc == ssrc).then_some(mid)
    }

    /// Returns whether a codec was negotiated for a section.
    pub(super) fn takes(&self, mid: Mid, codec: Codec) -> bool {
        let slot = self.slots.iter().find(|slot| slot.mid == mid);
        slot.is_some_and(|slot| slot.payload_types(codec).is_some())
    }

    /// Sends packets, in this order; what cannot be sent on its section is left out. Returns whether a report is due because of them.
    pub(super) fn send<'a>(
        &mut self,
        packets: impl Iterator<Item = SentPacket<'a>>,
        wire: &mut Wire<'_>,
        now: Instant,
    ) -> bool {
        let Self { slots, latest, departures, report_at, .. } = self;
        let (at, mut is_report_due) = (departures.time(now), false);
        for packet in packets {
            if slots.get(*latest).is_none_or(|slot| slot.mid != packet.mid) {
                let place = slots.iter().position(|slot| slot.mid == packet.mid);
                *latest = place.unwrap_or(usize::MAX);
            }
            let Some(slot) = slots.get_mut(*latest) else { continue };
            let (Some((stream, _)), Some((payload_type, _))) =
                (slot.streams, slot.payload_types(packet.codec))
            else {
                continue;
            };
            let header = Header {
                payload_type,
                marker: packet.marker,
                sequence: packet.sequence as u16,
                timestamp: packet.timestamp,
                ssrc: slot.ssrc,
                extensions: Extensions {
                    mid: slot.heard.is_none().then_some(packet.mid),
                    transport_sequence: (slot.stamp == Stamp::Number).then(|| departures.next()),
                    send_time: (slot.stamp == Stamp::Time).then_some(wire.send_time),
                    passed: *packet.extensions,
                    ..Extensions::default()
                },
            };
            let padding = packet.padding.into();
            let bytes = seal(&header, &[packet.payload], padding, (stream, packet.sequence), wire);
            if bytes == 0 {
                continue;
            }
            departures.note(bytes, slot.stamp == Stamp::Number, at);
            slot.packets += 1;
            slot.octets += packet.payload.len() as u64;
            if slot.latest.is_some_and(|latest| latest.is_of(packet.timestamp, packet.captured)) {
                continue;
            }
            let (timestamp, clock_rate) = (packet.timestamp, packet.codec.clock_rate());
            let latest = Latest { timestamp, clock_rate, captured: packet.captured };
            let is_news = slot.latest.is_none_or(|before| !before.predicts(&latest));
            slot.latest = Some(latest);
            if is_news && packet.captured.is_some() {
                slot.report_at = Some(now);
                *report_at = Some(now);
                is_report_due = true;
            }
        }
        is_report_due
    }

    /// Sends a packet again, if it was sent before.
    pub(super) fn repair(&mut self, packet: SentPacket<'_>, wire: &mut Wire<'_>, now: Instant) {
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.mid == packet.mid) else { return };
        let (Some((main, Some(stream))), Some(ssrc)) = (slot.streams, slot.repair_ssrc) else { return };
        let payload_type = slot.payload_types(packet.codec).and_then(|(_, repair)| repair);
        let Some(payload_type) = payload_type.filter(|_| wire.sealer.has_sealed(main, packet.sequence))
        else {
            return;
        };
        let sequence = slot.next_repair;
        slot.next_repair += 1;
        let header = Header {
            payload_type,
            marker: packet.marker,
            sequence: sequence as u16,
            timestamp: packet.timestamp,
            ssrc,
            extensions: Extensions {
                mid: (!slot.repairs_are_known).then_some(packet.mid),
                transport_sequence: (slot.stamp == Stamp::Number).then(|| self.departures.next()),
                send_time: (slot.stamp == Stamp::Time).then_some(wire.send_time),
                passed: *packet.extensions,
                ..Extensions::default()
            },
        };
        let original = (packet.sequence as u16).to_be_bytes();
        let bytes = seal(&header, &[&original, packet.payload], 0, (stream, sequence), wire);
        if bytes > 0 {
            let at = self.departures.time(now);
            self.departures.note(bytes, slot.stamp == Stamp::Number, at);
        }
    }

    /// Takes in what the client says of what arrived.
    pub(super) fn on_arrivals(&mut self, report: &Twcc<'_>, now: Instant) {
        self.departures.acknowledge(report, now);
    }

    /// Returns how much gets through to the client; none while nothing says that not everything does.
    pub(super) fn limit(&self) -> Option<Bitrate> {
        self.departures.limit()
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, now: Instant) {
        self.departures.pass(now);
    }

    /// What leaves from now on takes another way.
    pub(super) fn on_path_changed(&mut self) {
        self.departures.on_path_changed();
    }

    /// Returns what left and arrived since the last call.
    pub(super) const fn take_traffic(&mut self) -> Traffic {
        self.departures.take_traffic()
    }

    fn slot(&mut self, mid: Mid) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.mid == mid)
    }

    /// Returns how long a packet and its answer are under way, at least.
    pub(super) fn round_trip(&self) -> Duration {
        self.round_trip_time.unwrap_or(ROUND_TRIP)
    }

    /// What occupied a section has gone. Its next occupant has a time of its own.
    pub(super) fn leave(&mut self, mid: Mid) {
        if let Some(slot) = self.slot(mid) {
            slot.latest = None;
            slot.report_at = None;
        }
    }

    /// Takes in what a receiver says of one of our sources.
    pub(super) fn on_report(&mut self, block: &ReportBlock<'_>, now: u64) {
        let mid = self.by_ssrc.get(&block.ssrc()).copied();
        let Some(slot) = mid.and_then(|mid| self.slot(mid)) else { return };
        if slot.repair_ssrc == Some(block.ssrc()) {
            slot.repairs_are_known = slot.next_repair > 1;
            return;
        }
        if slot.packets == 0 {
            // Nobody can have heard of it.
            return;
        }
        slot.heard = Some(Heard {
            highest: block.extended_sequence_number().into(),
            fraction_lost: f32::from(block.fraction_lost()) / 256.0,
            jitter: block.interarrival_jitter(),
        });
        let (sent, held) =
            (block.last_sender_report_timestamp(), block.delay_since_last_sender_report_timestamp());
        if sent != 0 && slot.sent_reports.contains(&sent) {
            let units = ntp::middle(now).wrapping_sub(sent).wrapping_sub(held);
            // Clocks of two machines differ by a little: what would be negative is none.
            if units.cast_signed() >= 0 {
                self.round_trip_time = Some(ntp::from_short(units));
            }
        }
    }

    /// Reports about every section whose time has come.
    ///
    /// * `wall`: what time it is.
    pub(super) fn report(&mut self, now: Instant, wall: SystemTime, bundle: &mut Bundle) {
        if self.report_at.is_none_or(|at| at > now) {
            return;
        }
        for slot in self.slots.iter_mut().filter(|slot| slot.report_at.is_some_and(|at| at <= now)) {
            slot.report_at = None;
            let Some(Latest { timestamp, clock_rate, captured: Some(captured) }) = slot.latest else {
                continue;
            };
            slot.report_at = Some(now + REPORT_INTERVAL);
            let ticks = |passed: Duration| (passed.as_secs_f64() * f64::from(clock_rate)) as u64 as u32;
            let (later, earlier) =
                (now.saturating_duration_since(captured), captured.saturating_duration_since(now));
            let rtp = timestamp.wrapping_add(ticks(later)).wrapping_sub(ticks(earlier));
            let sent = reports::Sent {
                ssrc: slot.ssrc,
                time: SenderTime { rtp, ntp: ntp::from_system_time(wall) },
                packets: slot.packets as u32,
                octets: slot.octets as u32,
            };
            slot.sent_reports[slot.next_report % REPORTS_KEPT] = ntp::middle(sent.time.ntp);
            slot.next_report += 1;
            bundle.add_sender_report(&sent, &slot.description);
        }
        self.report_at = self.slots.iter().filter_map(|slot| slot.report_at).min();
    }

    /// Returns when the next report is due.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.report_at
    }

    /// Returns how every section does that something was sent on.
    pub(super) fn measure(&mut self) -> impl Iterator<Item = Measure> {
        let round_trip_time = self.round_trip_time;
        let used = self.slots.iter_mut().filter(|slot| slot.packets > 0);
        used.map(move |slot| {
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
                mid: slot.mid,
                is_inbound: false,
                packets: slot.packets,
                progress: slot.heard.map_or(0, |heard| heard.highest),
                fraction_lost: slot.heard.map_or(0.0, |heard| heard.fraction_lost),
                jitter: Duration::from_secs_f64(f64::from(jitter) / f64::from(clock_rate)),
                round_trip_time,
            }
        })
    }
}

impl Slot {
    /// Returns the payload types of a codec and of its repairs.
    fn payload_types(&self, codec: Codec) -> Option<(u8, Option<u8>)> {
        let found = self.payload_types.iter().find(|(one, ..)| *one == codec);
        found.map(|(_, main, repair)| (*main, *repair))
    }
}

/// Writes and seals a packet behind what leaves before it. Returns how long it is; 0 when it does not leave.
fn seal(
    header: &Header,
    payload: &[&[u8]],
    padding: usize,
    (stream, index): (StreamHandle, u64),
    wire: &mut Wire<'_>,
) -> usize {
    let (Wire { ids, sealer, outgoing, .. }, mut sealed) = (wire, 0);
    outgoing.push(|datagrams| {
        let start = datagrams.len();
        header.write(ids, padding > 0, datagrams);
        payload.iter().for_each(|part| datagrams.extend_from_slice(part));
        if padding > 0 {
            datagrams.resize(datagrams.len() + padding, 0);
            *datagrams.last_mut()? = padding as u8;
        }
        let length = datagrams.len() - start;
        datagrams.resize(start + length + TAG_MAX, 0);
        match sealer.seal_rtp(stream, index, &mut datagrams[start..], length) {
            Ok(end) => {
                datagrams.truncate(start + end);
                sealed = end;
                Some(())
            }
            Err(error) => {
                tracing::debug!(%error, "packet not sent");
                None
            }
        }
    });
    sealed
}

/// The longest tag of any profile.
const TAG_MAX: usize = 16;
