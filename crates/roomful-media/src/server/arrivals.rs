//! When packets of the whole transport arrived, as their sender wants to know for its bandwidth estimation
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rtcp_types::{Twcc, TwccBuilder, TwccPacketStatus};

/// Every authenticated packet's arrival, for a while.
#[derive(Debug)]
pub(super) struct Arrivals {
    start: Instant,
    /// By extended number. Those reported stay for a while: a late one is reported among its neighbours.
    seen: BTreeMap<u64, Instant>,
    /// The first number of the next report.
    next: u64,
    is_new: bool,
    reports: u8,
}

/// Numbers of one report, and kept: at 10 Mbit/s, what comes in 700 ms.
const KEPT: usize = 600;

/// Reference times count in this.
const REFERENCE: Duration = Duration::from_millis(64);
/// Differences count in this.
const TICK: Duration = Duration::from_micros(250);

/// Bytes of one report: it fits into a packet beside others.
const REPORT_BYTES: usize = 900;

impl Arrivals {
    pub(super) const fn new(now: Instant) -> Self {
        Self { start: now, seen: BTreeMap::new(), next: 0, is_new: false, reports: 0 }
    }

    /// Notes a packet.
    pub(super) fn note(&mut self, sequence: u16, now: Instant) {
        let number = match self.seen.last_key_value() {
            // Room before the first, for those that it has overtaken.
            None => u64::from(sequence) + (1 << 16),
            Some((latest, _)) => {
                let distance = sequence.wrapping_sub(*latest as u16).cast_signed();
                latest.saturating_add_signed(distance.into())
            }
        };
        if self.seen.is_empty() {
            self.next = number;
        }
        let oldest = self.seen.last_key_value().map_or(0, |(latest, _)| latest.saturating_sub(KEPT as u64));
        if number < oldest || self.seen.contains_key(&number) {
            return;
        }
        self.seen.insert(number, now);
        self.is_new = true;
        // A late one is told of after all, and those behind it again.
        self.next = self.next.min(number);
        while self.seen.len() > KEPT {
            self.seen.pop_first();
        }
    }

    /// Returns what arrived since the last report, if anything did.
    pub(super) fn report(&mut self) -> Option<TwccBuilder> {
        if !std::mem::take(&mut self.is_new) {
            return None;
        }
        let (latest, _) = self.seen.last_key_value()?;
        let first = self.next.max((latest + 1).saturating_sub(KEPT as u64));
        let mut packets = self.seen.range(first..).peekable();
        let (_, first_at) = packets.peek()?;
        let reference =
            (first_at.saturating_duration_since(self.start).as_millis() / REFERENCE.as_millis()) as u32;
        let mut before = self.start + REFERENCE * reference;
        let (mut statuses, mut number) = (Vec::new(), first);
        for (at_number, at) in packets {
            let ticks = |time: Duration| i64::try_from(time.as_nanos() / TICK.as_nanos()).unwrap_or(i64::MAX);
            let delta = match at.checked_duration_since(before) {
                Some(later) => ticks(later),
                None => -ticks(before - *at),
            };
            // What is further apart is for the next report.
            let Ok(delta) = i16::try_from(delta) else { break };
            statuses.extend((number..*at_number).map(|_| TwccPacketStatus::NotReceived));
            statuses.push(TwccPacketStatus::Received { delta });
            // The error of rounding does not add up.
            before = match u32::try_from(delta) {
                Ok(later) => before + TICK * later,
                Err(_) => before - TICK * delta.unsigned_abs().into(),
            };
            number = at_number + 1;
        }
        self.reports = self.reports.wrapping_add(1);
        let reference = reference & 0x00ff_ffff;
        let report = Twcc::builder(
            first as u16,
            reference,
            self.reports.wrapping_sub(1),
            &statuses,
            Some(REPORT_BYTES),
        );
        self.next = first + report.packet_status_count() as u64;
        // What did not fit follows.
        self.is_new = self.seen.range(self.next..).next().is_some();
        Some(report)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtcp_types::prelude::*;

    use super::*;

    /// Reads reports back: number, and how long after the start it came, in ticks.
    fn read(arrivals: &mut Arrivals) -> Vec<(u16, Option<i64>)> {
        let mut all = Vec::new();
        while let Some(report) = arrivals.report() {
            let mut bytes = vec![0; report.calculate_size().expect("small")];
            report.write_into_unchecked(&mut bytes);
            let report = Twcc::parse(&bytes).expect("a report");
            let mut at = i64::from(report.reference_time()) * 256;
            for packet in report.packets() {
                let (number, status) = packet.expect("whole");
                all.push(match status {
                    TwccPacketStatus::NotReceived => (number, None),
                    TwccPacketStatus::Received { delta } => {
                        at += i64::from(delta);
                        (number, Some(at))
                    }
                });
            }
        }
        all
    }

    #[test]
    fn what_is_missing_is_told_and_told_again_when_it_comes_late() {
        let start = Instant::now();
        let mut arrivals = Arrivals::new(start);
        let ms = |ms| start + Duration::from_millis(ms);
        for (number, at) in [(65_534, 100), (65_535, 101), (1, 103)] {
            arrivals.note(number, ms(at));
        }
        let first = [(65_534, Some(400)), (65_535, Some(404)), (0, None), (1, Some(412))];
        assert_eq!(read(&mut arrivals), first);
        assert_eq!(read(&mut arrivals), []);
        arrivals.note(0, ms(150));
        arrivals.note(2, ms(151));
        assert_eq!(read(&mut arrivals), [(0, Some(600)), (1, Some(412)), (2, Some(604))]);
    }

    proptest! {
        #[test]
        fn every_packet_is_told_of_with_its_time(
            first in any::<u16>(),
            steps in prop::collection::vec((1..30_u16, 0..400_000_u64), 1..300),
        ) {
            let start = Instant::now();
            let mut arrivals = Arrivals::new(start);
            let (mut number, mut at, mut expected) = (first, Duration::ZERO, Vec::new());
            let mut told = Vec::new();
            for (index, (step, micros)) in steps.into_iter().enumerate() {
                number = number.wrapping_add(step);
                at += Duration::from_micros(micros);
                arrivals.note(number, start + at);
                expected.push((number, (at.as_micros() / 250) as i64));
                if index % 7 == 6 {
                    told.extend(read(&mut arrivals));
                }
            }
            told.extend(read(&mut arrivals));
            let told: Vec<_> = told.into_iter().filter_map(|(number, at)| Some((number, at?))).collect();
            prop_assert_eq!(told.len(), expected.len());
            for ((number, at), (expected_number, expected_at)) in told.into_iter().zip(expected) {
                prop_assert_eq!(number, expected_number);
                prop_assert!((at - expected_at).abs() <= 1, "{} is not {}", at, expected_at);
            }
        }
    }
}
