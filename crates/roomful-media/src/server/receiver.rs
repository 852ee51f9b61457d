//! What a client sends: packets put under their section and encoding, repairs unwrapped, losses noticed and asked for, reports made
//! (RFC 3550, RFC 4588).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use roomful_srtp::ReplayWindow;
use roomful_types::{Codec, MediaKind, Mid, Rid};

use super::{Measure, header::Header, missing::Missing, ntp, reports::Reception};

/// Everything that one client sends.
#[derive(Debug)]
pub(super) struct Receiver {
    start: Instant,
    /// What a source is, once it said so in an authentic packet, or the session description did.
    sources: BTreeMap<u32, Source>,
    encodings: BTreeMap<(Mid, Rid), Encoding>,
    sections: BTreeMap<Mid, MediaKind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source {
    mid: Mid,
    rid: Rid,
    is_repair: bool,
}

/// A packet, put in its place.
#[derive(Debug)]
pub(super) struct Placed<'a> {
    pub(super) mid: Mid,
    pub(super) rid: Rid,
    pub(super) sequence: u64,
    pub(super) payload: &'a [u8],
    /// What the sender last reported about its time, if it did.
    pub(super) report: Option<SenderTime>,
    pub(super) clock_rate: u32,
}

/// A time of RTP and the same on the sender's clock (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct SenderTime {
    pub(super) rtp: u32,
    pub(super) ntp: u64,
}

impl SenderTime {
    /// Returns when something with this RTP timestamp was captured, on the same clock.
    pub(super) fn captured(self, timestamp: u32, clock_rate: u32) -> u64 {
        let ticks = timestamp.wrapping_sub(self.rtp).cast_signed();
        ntp::moved(self.ntp, ticks, clock_rate)
    }
}

/// One encoding of a section.
#[derive(Debug)]
struct Encoding {
    ssrc: u32,
    clock_rate: u32,
    is_repaired: bool,
    seen: ReplayWindow,
    /// The source of its repairs, once one came.
    repair_ssrc: Option<u32>,
    /// The sources before it, its own and that of its repairs, and until when packets of these are late and nothing else.
    former: Option<([Option<u32>; 2], Instant)>,
    /// Added to what its sender counts: another source goes on behind the one before it.
    offset: i64,
    first: u64,
    received: u64,
    /// Expected and received at the latest report, and at the latest measure.
    reported: (u64, u64),
    measured: (u64, u64),
    /// Interarrival jitter in units of the clock (RFC 3550 appendix A.8), and the transit of the latest packet.
    jitter: f64,
    transit: Option<u32>,
    missing: Missing,
    report: Option<(SenderTime, Instant)>,
}

/// How far behind the highest number of one source another one's numbers begin: nothing that is late looks like its own.
const RESTART_GAP: u64 = 1 << 10;

/// How long packets of a source that another one followed may be under way.
const LATE: Duration = Duration::from_secs(5);

impl Receiver {
    pub(super) const fn new(now: Instant) -> Self {
        Self { start: now, sources: BTreeMap::new(), encodings: BTreeMap::new(), sections: BTreeMap::new() }
    }

    /// Notes a section that the client sends on, and its sources where the session description names them.
    pub(super) fn add_section(&mut self, mid: Mid, kind: MediaKind, declared: Option<(u32, Option<u32>)>) {
        self.sections.insert(mid, kind);
        if let Some((ssrc, repair)) = declared {
            let source = Source { mid, rid: Rid::High, is_repair: false };
            self.sources.entry(ssrc).or_insert(source);
            if let Some(repair) = repair {
                self.sources.entry(repair).or_insert(Source { is_repair: true, ..source });
            }
        }
    }

    /// Puts an authentic packet in its place; none when it is nobody's, or was there before.
    ///
    /// * `index`: its extended sequence number.
    /// * `is_repair`: whether its payload type is one of repairs.
    pub(super) fn place<'a>(
        &mut self,
        header: &Header,
        index: u64,
        payload: &'a [u8],
        is_repair: bool,
        now: Instant,
    ) -> Option<Placed<'a>> {
        let source = self.source(header, is_repair)?;
        let kind = *self.sections.get(&source.mid)?;
        let key = (source.mid, source.rid);
        if source.is_repair {
            let encoding = self.encodings.get_mut(&key).filter(|one| !one.is_former(header.ssrc, now))?;
            encoding.repair_ssrc = Some(header.ssrc);
            let (number, payload) = payload.split_first_chunk()?;
            let sequence = encoding.extend(u16::from_be_bytes(*number))?;
            return encoding.take(sequence, now).then(|| encoding.placed(source, sequence, payload));
        }
        let start = self.start;
        let (clock_rate, is_repaired) = match kind {
            MediaKind::Audio => (Codec::Opus.clock_rate(), false),
            MediaKind::Video => (Codec::Vp8.clock_rate(), true),
        };
        let encoding = self
            .encodings
            .entry(key)
            .or_insert_with(|| Encoding::new(header.ssrc, clock_rate, is_repaired, index, 0));
        if encoding.ssrc != header.ssrc {
            if encoding.is_former(header.ssrc, now) {
                return None;
            }
            let former = Some(([Some(encoding.ssrc), encoding.repair_ssrc], now + LATE));
            let behind = encoding.seen.highest().map_or(0, |highest| highest + RESTART_GAP);
            *encoding = Encoding::new(
                header.ssrc,
                clock_rate,
                is_repaired,
                index,
                behind.wrapping_sub(index).cast_signed(),
            );
            encoding.former = former;
        }
        let sequence = index.checked_add_signed(encoding.offset)?;
        if !encoding.take(sequence, now) {
            return None;
        }
        encoding.count(header.timestamp, start, now);
        Some(encoding.placed(source, sequence, payload))
    }

    /// Finds out what a source is: by what it says in this packet, or by what is known of it.
    fn source(&mut self, header: &Header, is_repair: bool) -> Option<Source> {
        let extensions = &header.extensions;
        if extensions.has_unknown_rid {
            return None;
        }
        let known = self.sources.get(&header.ssrc).copied();
        let mid = extensions.mid.or(known.map(|known| known.mid))?;
        let rid = if is_repair { extensions.repaired_rid.or(extensions.rid) } else { extensions.rid };
        let rid = rid.or(known.map(|known| known.rid)).unwrap_or_default();
        let source = Source { mid, rid, is_repair };
        if known != Some(source) && self.sections.contains_key(&mid) {
            self.sources.insert(header.ssrc, source);
        }
        Some(source)
    }

    /// Takes in what a sender says of its time.
    pub(super) fn on_sender_report(&mut self, ssrc: u32, time: SenderTime, now: Instant) {
        // Whoever has no clock says zero (RFC 3550 §6.4.1).
        if let Some(encoding) = self.by_ssrc(ssrc).filter(|_| time.ntp != 0) {
            encoding.report = Some((time, now));
        }
    }

    fn by_ssrc(&mut self, ssrc: u32) -> Option<&mut Encoding> {
        self.encodings.values_mut().find(|encoding| encoding.ssrc == ssrc)
    }

    /// Returns the source of an encoding, once something came of it.
    pub(super) fn ssrc(&self, mid: Mid, rid: Rid) -> Option<u32> {
        self.encodings.get(&(mid, rid)).map(|encoding| encoding.ssrc)
    }

    /// Returns a source that feedback about the whole transport may be addressed to: senders want it to be one of theirs.
    pub(super) fn any_ssrc(&self) -> Option<u32> {
        self.encodings.values().map(|encoding| encoding.ssrc).next()
    }

    /// Returns which packets are to be asked for now, by source.
    pub(super) fn take_missing(&mut self, now: Instant) -> Vec<(u32, Vec<u16>)> {
        let due = self.encodings.values_mut().map(|encoding| {
            let numbers = encoding.missing.take_due(now);
            (encoding.ssrc, numbers.into_iter().map(|number| encoding.own(number) as u16).collect())
        });
        due.filter(|(_, numbers): &(_, Vec<_>)| !numbers.is_empty()).collect()
    }

    /// Returns when something is to be asked for next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.encodings.values().filter_map(|encoding| encoding.missing.deadline()).min()
    }

    /// Returns a report about every source that sent since the last one.
    pub(super) fn take_reports(&mut self, now: Instant) -> impl Iterator<Item = Reception> {
        let active = self.encodings.values_mut().filter(|encoding| encoding.received != encoding.reported.1);
        active.map(move |encoding| encoding.report(now))
    }

    /// Returns how every section does that the client sends on.
    pub(super) fn measure(&mut self) -> impl Iterator<Item = Measure> {
        // A section is as good as its best encoding: the others may be paused.
        let best = self.encodings.iter_mut().filter(|((_, rid), _)| *rid == Rid::High);
        best.map(|((mid, _), encoding)| {
            let now = (encoding.expected(), encoding.received);
            let before = std::mem::replace(&mut encoding.measured, now);
            Measure {
                mid: *mid,
                is_inbound: true,
                packets: encoding.received,
                progress: encoding.received,
                fraction_lost: fraction(before, now),
                jitter: Duration::from_secs_f64(encoding.jitter / f64::from(encoding.clock_rate)),
                round_trip_time: None,
            }
        })
    }
}

impl Encoding {
    fn new(ssrc: u32, clock_rate: u32, is_repaired: bool, index: u64, offset: i64) -> Self {
        let first = index.saturating_add_signed(offset);
        Self {
            ssrc,
            clock_rate,
            is_repaired,
            seen: ReplayWindow::new(),
            repair_ssrc: None,
            former: None,
            offset,
            first,
            received: 0,
            reported: (0, 0),
            measured: (0, 0),
            jitter: 0.0,
            transit: None,
            missing: Missing::default(),
            report: None,
        }
    }

    /// Returns whether a source was replaced so lately that what comes of it is late.
    fn is_former(&self, ssrc: u32, now: Instant) -> bool {
        self.former.is_some_and(|(former, until)| former.contains(&Some(ssrc)) && now < until)
    }

    /// Returns a number as the source counts.
    const fn own(&self, sequence: u64) -> u64 {
        sequence.saturating_add_signed(-self.offset)
    }

    /// Returns the number that a repair speaks of; none before anything came.
    fn extend(&self, sequence: u16) -> Option<u64> {
        let highest = self.own(self.seen.highest()?);
        let distance = sequence.wrapping_sub(highest as u16).cast_signed();
        highest.checked_add_signed(distance.into())?.checked_add_signed(self.offset)
    }

    /// Takes a number; false when it was there before.
    fn take(&mut self, sequence: u64, now: Instant) -> bool {
        if !self.seen.is_new(sequence) {
            return false;
        }
        if let Some(highest) = self.seen.highest().filter(|_| self.is_repaired)
            && sequence > highest
        {
            self.missing.note_gap(highest, sequence, now);
        }
        self.seen.note(sequence);
        self.missing.arrived(sequence);
        true
    }

    /// Counts a packet that came by itself (RFC 3550 appendix A.8).
    fn count(&mut self, timestamp: u32, start: Instant, now: Instant) {
        self.received += 1;
        let arrival =
            (now.saturating_duration_since(start).as_secs_f64() * f64::from(self.clock_rate)) as u64 as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let difference = f64::from(transit.wrapping_sub(before).cast_signed().unsigned_abs());
            // A pause of the sender is none of the network's doing.
            if difference < f64::from(self.clock_rate) {
                self.jitter += (difference - self.jitter) / 16.0;
            }
        }
    }

    fn placed<'a>(&self, source: Source, sequence: u64, payload: &'a [u8]) -> Placed<'a> {
        let report = self.report.map(|(time, _)| time);
        Placed { mid: source.mid, rid: source.rid, sequence, payload, report, clock_rate: self.clock_rate }
    }

    fn expected(&self) -> u64 {
        self.seen.highest().map_or(0, |highest| highest + 1 - self.first.min(highest))
    }

    fn report(&mut self, now: Instant) -> Reception {
        let counts = (self.expected(), self.received);
        let before = std::mem::replace(&mut self.reported, counts);
        let highest = self.own(self.seen.highest().unwrap_or_default());
        let report = self
            .report
            .map(|(time, at)| (ntp::middle(time.ntp), ntp::short(now.saturating_duration_since(at))));
        Reception {
            ssrc: self.ssrc,
            fraction_lost: (fraction(before, counts) * 256.0).min(255.0) as u8,
            lost: counts.0.saturating_sub(counts.1).min(0x7f_ffff) as u32,
            highest: highest as u32,
            jitter: self.jitter as u32,
            sender_report: report.unwrap_or_default(),
        }
    }
}

/// Returns the share that did not come between two counts of what was expected and received.
fn fraction(before: (u64, u64), now: (u64, u64)) -> f32 {
    let (expected, received) = (now.0.saturating_sub(before.0), now.1.saturating_sub(before.1));
    if expected == 0 { 0.0 } else { expected.saturating_sub(received) as f32 / expected as f32 }
}
