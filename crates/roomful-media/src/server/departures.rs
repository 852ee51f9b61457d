//! What left for a client, until it has said what of it arrived and when (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::time::{Duration, Instant};

use roomful_types::Bitrate;
use rtcp_types::{Twcc, TwccPacketStatus};

use super::congestion::Congestion;

/// Everything that was numbered over the whole transport, for a while.
#[derive(Debug, Default)]
pub(super) struct Departures {
    /// By the remainder of the number; empty before the first, and longer where reports come later.
    ring: Vec<Departure>,
    /// When the first left.
    start: Option<Instant>,
    /// The number of the next packet.
    next: u64,
    traffic: Traffic,
    /// The first number that left the way that packets take now.
    path_begins: u64,
    congestion: Congestion,
}

/// Small, because one is written for every packet of every peer.
#[derive(Debug, Clone, Copy, Default)]
struct Departure {
    /// Since the first, in microseconds.
    at: u32,
    bytes: u16,
    fate: Fate,
}

/// What the client says of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Fate {
    #[default]
    Unknown,
    Missing,
    Arrived,
}

/// Bytes that left and that are known to have arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Media that left, headers and repairs included.
    pub sent: u64,
    /// What of it the client said that it got.
    pub acknowledged: u64,
}

/// Packets that are remembered: at 10 Mbit/s what leaves in a second, several round trips. And where that is not enough, because they wait in
/// a long queue, as many as are four seconds at 20 Mbit/s.
const KEPT: usize = 1024;
const KEPT_MAX: usize = 8 * KEPT;

/// What left longer ago is not on its way any more; a report about it says nothing of the path as it is.
const TIMELY: Duration = Duration::from_secs(10);

/// What left longer ago was reported by now, if anything is.
const IDLE: Duration = Duration::from_secs(1);

/// What times of arrival count in, and what the first of a report does.
const TICK_MICROS: i32 = 250;
const REFERENCE_MICROS: u32 = 64_000;

impl Departures {
    /// Returns a time as it is kept: since the first departure, in microseconds.
    pub(super) fn time(&mut self, now: Instant) -> u32 {
        now.saturating_duration_since(*self.start.get_or_insert(now)).as_micros() as u32
    }

    /// Returns the number of the next packet.
    pub(super) const fn next(&self) -> u16 {
        self.next as u16
    }

    /// Notes that a packet left: the next one, if it is numbered. Of others nobody says whether they arrived.
    ///
    /// * `at`: when, by [`time`](Self::time).
    pub(super) fn note(&mut self, bytes: usize, is_numbered: bool, at: u32) {
        self.traffic.sent += bytes as u64;
        if !is_numbered {
            return;
        }
        if self.ring.is_empty() {
            self.ring.resize(KEPT, Departure::default());
        }
        let place = self.place(self.next);
        self.ring[place] =
            Departure { at, bytes: u16::try_from(bytes).unwrap_or(u16::MAX), fate: Fate::Unknown };
        self.next += 1;
    }

    /// Takes in what the client says. What never left, or is forgotten, counts for nothing, and nothing counts twice.
    pub(super) fn acknowledge(&mut self, report: &Twcc<'_>, now: Instant) {
        let passed = self.start.map_or(Duration::ZERO, |start| now.saturating_duration_since(start));
        // Times of arrival may wrap: only differences count.
        let mut arrived = report.reference_time().wrapping_mul(REFERENCE_MICROS);
        let (kept, mut is_short) = (self.ring.len() as u64, false);
        // A report may claim 65,535 packets in a few bytes. More than leave in a second are not reported in earnest.
        for packet in report.packets().take(KEPT) {
            let Ok((number, status)) = packet else { break };
            if let TwccPacketStatus::Received { delta } = status {
                arrived = arrived.wrapping_add_signed(i32::from(delta) * TICK_MICROS);
            }
            let behind = u64::from((self.next as u16).wrapping_sub(number));
            if !(1..=kept.min(self.next)).contains(&behind) {
                is_short |= (kept + 1..=self.next.min(KEPT_MAX as u64)).contains(&behind);
                continue;
            }
            let place = self.place(self.next - behind);
            let departure = &mut self.ring[place];
            let ago = (passed.as_micros() as u32).wrapping_sub(departure.at);
            if u128::from(ago) > TIMELY.as_micros() {
                continue;
            }
            // What left on another way says nothing of this one.
            let congestion = Some(&mut self.congestion).filter(|_| self.next - behind >= self.path_begins);
            match (departure.fate, status) {
                (Fate::Unknown, TwccPacketStatus::NotReceived) => {
                    departure.fate = Fate::Missing;
                    congestion.map(Congestion::on_missing);
                }
                (before @ (Fate::Unknown | Fate::Missing), TwccPacketStatus::Received { .. }) => {
                    departure.fate = Fate::Arrived;
                    self.traffic.acknowledged += u64::from(departure.bytes);
                    if let Some(congestion) = congestion {
                        if before == Fate::Missing {
                            congestion.on_found();
                        }
                        congestion.on_arrival(departure.at, arrived, departure.bytes);
                    }
                }
                (Fate::Missing | Fate::Arrived, _) => {}
            }
        }
        if is_short {
            self.keep_more();
        }
        self.congestion.judge(now);
    }

    /// Remembers twice as many from now on.
    fn keep_more(&mut self) {
        let kept = self.ring.len();
        let mut ring = vec![Departure::default(); 2 * kept];
        for number in self.next.saturating_sub(kept as u64)..self.next {
            ring[number as usize % (2 * kept)] = self.ring[self.place(number)];
        }
        self.ring = ring;
    }

    /// Where a number is kept. Lengths are powers of two, and a division would be the dearest step of noting a packet.
    fn place(&self, number: u64) -> usize {
        number as usize & (self.ring.len() - 1)
    }

    /// Lets time pass. While nothing leaves that could be reported, a limit grows by that alone.
    pub(super) fn pass(&mut self, now: Instant) {
        let Some(latest) = self.next.checked_sub(1) else { return };
        let ago = self.time(now).wrapping_sub(self.ring[self.place(latest)].at);
        if u128::from(ago) > IDLE.as_micros() {
            self.congestion.judge(now);
        }
    }

    /// Returns how much gets through to the client; none while nothing says that not everything does.
    pub(super) fn limit(&self) -> Option<Bitrate> {
        self.congestion.limit()
    }

    /// What leaves from now on takes another way.
    pub(super) fn on_path_changed(&mut self) {
        self.congestion = Congestion::default();
        self.path_begins = self.next;
    }

    /// Returns what left and arrived since the last call.
    pub(super) const fn take_traffic(&mut self) -> Traffic {
        std::mem::replace(&mut self.traffic, Traffic { sent: 0, acknowledged: 0 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtcp_types::prelude::*;

    use super::*;

    fn report(departures: &mut Departures, first: u16, statuses: &[bool]) {
        let statuses: Vec<_> = statuses
            .iter()
            .map(|is_there| match is_there {
                true => TwccPacketStatus::Received { delta: 1 },
                false => TwccPacketStatus::NotReceived,
            })
            .collect();
        let builder = Twcc::builder(first, 0, 0, &statuses, None);
        let mut bytes = vec![0; builder.calculate_size().expect("small")];
        builder.write_into_unchecked(&mut bytes);
        let now = Instant::now();
        departures.acknowledge(&Twcc::parse(&bytes).expect("written just now"), now);
    }

    #[test]
    fn what_arrived_counts_once_and_what_never_left_does_not_count() {
        let (mut departures, now) = (Departures::default(), Instant::now());
        let at = departures.time(now);
        report(&mut departures, 0, &[true; 3]);
        assert_eq!(departures.take_traffic(), Traffic::default());
        (0..5).for_each(|_| departures.note(100, true, at));
        report(&mut departures, 0, &[true, false, true]);
        report(&mut departures, 1, &[true, true, false]);
        report(&mut departures, 4, &[true; 5]);
        report(&mut departures, 65_000, &[true; 5]);
        assert_eq!(departures.take_traffic(), Traffic { sent: 500, acknowledged: 400 });
    }

    #[test]
    fn what_is_reported_late_is_remembered_from_then_on() {
        let (mut departures, now) = (Departures::default(), Instant::now());
        let at = departures.time(now);
        let behind = 5 * KEPT as u16;
        // The reports of more and more packets come when as many more have left.
        for _ in 0..12 {
            (0..KEPT).for_each(|_| departures.note(1, true, at));
            let first = departures.next().wrapping_sub(behind);
            report(&mut departures, first, &[true; KEPT]);
        }
        assert_eq!(departures.ring.len(), KEPT_MAX);
        let Traffic { acknowledged, .. } = departures.take_traffic();
        assert!(acknowledged as usize >= KEPT, "{acknowledged}");
        // No report makes it longer than that.
        (0..3 * KEPT_MAX).for_each(|_| departures.note(1, true, at));
        for behind in [KEPT_MAX as u16, KEPT_MAX as u16 + 1, 20_000] {
            let first = departures.next().wrapping_sub(behind);
            report(&mut departures, first, &[true]);
        }
        assert_eq!(departures.ring.len(), KEPT_MAX);
    }

    #[test]
    fn what_left_long_ago_is_over() {
        let (mut departures, start) =
            (Departures::default(), Instant::now().checked_sub(TIMELY * 2).expect("up for long"));
        let at = departures.time(start);
        departures.note(100, true, at);
        let at = departures.time(start + TIMELY * 2);
        departures.note(10, true, at);
        report(&mut departures, 0, &[true; 2]);
        assert_eq!(departures.take_traffic(), Traffic { sent: 110, acknowledged: 10 });
    }

    proptest! {
        #[test]
        fn never_more_arrives_than_left(
            steps in prop::collection::vec((0..300_u16, any::<u16>(), prop::collection::vec(any::<bool>(), 1..400)), 1..40),
        ) {
            let (mut departures, now) = (Departures::default(), Instant::now());
            let at = departures.time(now);
            let mut all = Traffic::default();
            for (count, first, statuses) in steps {
                (0..count).for_each(|_| departures.note(10, true, at));
                report(&mut departures, first, &statuses);
                let recent = departures.next().wrapping_sub(first % 500);
                report(&mut departures, recent, &statuses);
                let Traffic { sent, acknowledged } = departures.take_traffic();
                all = Traffic { sent: all.sent + sent, acknowledged: all.acknowledged + acknowledged };
                prop_assert!(all.acknowledged <= all.sent);
            }
        }
    }
}
