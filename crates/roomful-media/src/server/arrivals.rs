//! When packets of the whole transport arrived, as their sender wants to know for its bandwidth estimation
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::time::{Duration, Instant};

use super::reports::Bundle;

/// Every authenticated packet's arrival, for a while.
#[derive(Debug)]
pub(super) struct Arrivals {
    start: Instant,
    /// In ticks since the start, by the lower bits of the extended number; empty before the first packet. Those reported stay for a while:
    /// a late one is reported among its neighbours.
    ring: Vec<Option<u32>>,
    /// The highest number, and the first that is on record.
    highest: u64,
    first: u64,
    /// The first number of the next report.
    next: u64,
    is_new: bool,
    reports: u8,
}

/// Numbers of one report, and kept: at 10 Mbit/s, what comes in a second.
const KEPT: usize = 1024;

/// Differences count in this, 256 of which are what reference times count in.
const TICK: Duration = Duration::from_micros(250);
const REFERENCE_TICKS: u32 = 256;

/// Bytes of one report: it fits into a packet beside others.
const REPORT_BYTES: usize = 900;

/// What is said of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Symbol {
    Missing = 0,
    /// Its difference has one byte.
    Near = 1,
    /// It has two.
    Far = 2,
}

impl Arrivals {
    pub(super) const fn new(now: Instant) -> Self {
        Self { start: now, ring: Vec::new(), highest: 0, first: 0, next: 0, is_new: false, reports: 0 }
    }

    /// Notes a packet.
    pub(super) fn note(&mut self, sequence: u16, now: Instant) {
        if self.ring.is_empty() {
            self.ring.resize(KEPT, None);
            // Room before the first, for those that it has overtaken.
            self.highest = u64::from(sequence) + (1 << 16);
            (self.first, self.next) = (self.highest, self.highest);
        }
        let distance = sequence.wrapping_sub(self.highest as u16).cast_signed();
        let number = self.highest.saturating_add_signed(distance.into());
        let oldest = (self.highest + 1).saturating_sub(KEPT as u64);
        if number < oldest || (number <= self.highest && self.ring[place(number)].is_some()) {
            return;
        }
        for skipped in (self.highest + 1..=number).rev().take(KEPT) {
            self.ring[place(skipped)] = None;
        }
        let passed = now.saturating_duration_since(self.start).as_micros() / TICK.as_micros();
        self.ring[place(number)] = Some(passed as u32);
        self.highest = self.highest.max(number);
        self.first = self.first.min(number).max((self.highest + 1).saturating_sub(KEPT as u64));
        self.is_new = true;
        // A late one is told of after all, and those behind it again.
        self.next = self.next.min(number);
    }

    /// Adds what arrived since the last report, if anything did.
    pub(super) fn report(&mut self, own: u32, ssrc: u32, bundle: &mut Bundle) {
        while std::mem::take(&mut self.is_new) {
            self.report_once(own, ssrc, bundle);
        }
    }

    fn report_once(&mut self, own: u32, ssrc: u32, bundle: &mut Bundle) {
        let first = self.next.max(self.first);
        let (mut symbols, mut deltas) = ([Symbol::Missing; KEPT], [0; 2 * KEPT]);
        let (mut count, mut length, mut before) = (0, 0, None);
        let mut reference = 0;
        for (offset, number) in (first..=self.highest).enumerate() {
            let Some(at) = self.ring[place(number)] else { continue };
            let earlier = before.unwrap_or_else(|| {
                reference = at / REFERENCE_TICKS;
                reference * REFERENCE_TICKS
            });
            // What is further apart, or does not fit, is for the next report.
            let Ok(delta) = i16::try_from(at.wrapping_sub(earlier).cast_signed()) else { break };
            let (symbol, bytes) = match u8::try_from(delta) {
                Ok(near) => (Symbol::Near, &[near][..]),
                Err(_) => (Symbol::Far, &delta.to_be_bytes()[..]),
            };
            if length + bytes.len() + 2 * (offset + 1).div_ceil(VECTOR_OF_TWO) > REPORT_BYTES {
                break;
            }
            deltas[length..length + bytes.len()].copy_from_slice(bytes);
            symbols[offset] = symbol;
            (count, length, before) = (offset + 1, length + bytes.len(), Some(at));
        }
        if count == 0 {
            return;
        }
        let head =
            Head { own, ssrc, first: first as u16, reference: reference & 0x00ff_ffff, count: self.reports };
        self.reports = self.reports.wrapping_add(1);
        bundle.add_with(REPORT_BYTES + HEAD, |bytes| {
            write(&head, &symbols[..count], &deltas[..length], bytes);
        });
        self.next = first + count as u64;
        // What did not fit follows.
        self.is_new = (self.next..=self.highest).any(|number| self.ring[place(number)].is_some());
    }
}

const fn place(number: u64) -> usize {
    number as usize % KEPT
}

/// What stands before the symbols of a report.
#[derive(Debug)]
struct Head {
    own: u32,
    ssrc: u32,
    first: u16,
    reference: u32,
    count: u8,
}

/// What stands before the symbols, in bytes, and padding at the end.
const HEAD: usize = 20 + 3;

/// Symbols of one chunk: of a run at least, with one bit each, with two bits each.
const RUN_MIN: usize = 15;
const VECTOR_OF_ONE: usize = 14;
const VECTOR_OF_TWO: usize = 7;

/// Writes the packet (section 3.1 of the draft).
fn write(head: &Head, symbols: &[Symbol], deltas: &[u8], bytes: &mut Vec<u8>) {
    const FEEDBACK: [u8; 4] = [0x80 | 15, 205, 0, 0];
    let start = bytes.len();
    bytes.extend(FEEDBACK);
    bytes.extend(head.own.to_be_bytes());
    bytes.extend(head.ssrc.to_be_bytes());
    bytes.extend(head.first.to_be_bytes());
    bytes.extend((symbols.len() as u16).to_be_bytes());
    bytes.extend((head.reference << 8 | u32::from(head.count)).to_be_bytes());
    let mut rest = symbols;
    while let Some(symbol) = rest.first().copied() {
        let run = rest.iter().take_while(|one| **one == symbol).count();
        let (taken, chunk) = if run >= RUN_MIN || run == rest.len() {
            (run, (symbol as u16) << 13 | run as u16)
        } else if rest.iter().take(VECTOR_OF_ONE).all(|one| *one != Symbol::Far) {
            let bits = rest.iter().take(VECTOR_OF_ONE).enumerate();
            let bits = bits.fold(0, |bits, (index, one)| bits | (*one as u16) << (VECTOR_OF_ONE - 1 - index));
            (VECTOR_OF_ONE, 1 << 15 | bits)
        } else {
            let bits = rest.iter().take(VECTOR_OF_TWO).enumerate();
            let bits =
                bits.fold(0, |bits, (index, one)| bits | (*one as u16) << (2 * (VECTOR_OF_TWO - 1 - index)));
            (VECTOR_OF_TWO, 0b11 << 14 | bits)
        };
        bytes.extend(chunk.to_be_bytes());
        rest = &rest[taken.min(rest.len())..];
    }
    bytes.extend_from_slice(deltas);
    while !(bytes.len() - start).is_multiple_of(4) {
        bytes.push(0);
    }
    let words = ((bytes.len() - start) / 4 - 1) as u16;
    bytes[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtcp_types::{Compound, Packet, Twcc, TwccPacketStatus};

    use super::*;

    /// Reads reports back: number, and how long after the start it came, in ticks. Another one's parser says what they are.
    fn read(arrivals: &mut Arrivals) -> Vec<(u16, Option<i64>)> {
        let (mut all, mut bundle) = (Vec::new(), Bundle::default());
        arrivals.report(7, 8, &mut bundle);
        bundle.drain(|packets| {
            for packet in Compound::parse(packets).expect("compound") {
                let Ok(Packet::TransportFeedback(feedback)) = packet else { panic!("{packet:?}") };
                assert_eq!((feedback.sender_ssrc(), feedback.media_ssrc()), (7, 8));
                let report = feedback.parse_fci::<Twcc<'_>>().expect("a report");
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
        });
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
