//! H.264 payloads in packetization mode 1 (RFC 6184 §6.3): single NAL units, FU-A, and STAP-A for parameter sets.

use super::{PacketizeError, Payloads, even_pieces};
use crate::{
    limits::MAX_AGGREGATED_UNITS,
    nal::{self, AnnexB},
};

pub(super) fn packetize(
    frame: &[u8],
    max_payload: usize,
    payloads: &mut Payloads,
) -> Result<(), PacketizeError> {
    let units = AnnexB::new(frame).ok_or(PacketizeError::NoStartCode)?;
    let packets = frame.len() / (max_payload - FU_BYTES) + 1;
    payloads.reserve(frame.len() + packets * FU_BYTES, packets);
    let mut held = Held::default();
    for unit in units {
        match nal::unit_type(unit[0]) {
            // RFC 6184 §5.4 leaves no way to send types 0 and 24 ..= 31; decoders ignore them all (H.264 §7.4.1).
            0 | nal::ACCESS_UNIT_DELIMITER | nal::FILLER_DATA | nal::STAP_A.. => {}
            nal::SEI | nal::SPS | nal::PPS => {
                if !held.has_room(unit, max_payload) {
                    held.flush(max_payload, payloads);
                }
                held.add(unit);
            }
            _ => {
                held.flush(max_payload, payloads);
                push_unit(unit, max_payload, payloads);
            }
        }
    }
    held.flush(max_payload, payloads);
    if payloads.is_empty() { Err(PacketizeError::Empty) } else { Ok(()) }
}

/// Appends one NAL unit as it is, or as fragments of nearly equal length.
fn push_unit(unit: &[u8], max_payload: usize, payloads: &mut Payloads) {
    if unit.len() <= max_payload {
        return payloads.push(&[], unit);
    }
    let (indicator, unit_type) = (unit[0] & !nal::TYPE_MASK | nal::FU_A, nal::unit_type(unit[0]));
    let pieces = even_pieces(&unit[1..], max_payload - FU_BYTES);
    let last = pieces.len() - 1;
    for (index, piece) in pieces.enumerate() {
        let start = if index == 0 { nal::FU_START } else { 0 };
        let end = if index == last { nal::FU_END } else { 0 };
        payloads.push(&[indicator, start | end | unit_type], piece);
    }
}

/// Parameter sets and SEI that wait for company: small, and needed together in front of an IDR picture.
#[derive(Default)]
struct Held<'a> {
    units: [&'a [u8]; MAX_AGGREGATED_UNITS],
    count: usize,
    /// Length of the units with their sizes.
    bytes: usize,
}

impl<'a> Held<'a> {
    fn has_room(&self, unit: &[u8], max_payload: usize) -> bool {
        self.count < self.units.len() && 1 + self.bytes + SIZE_BYTES + unit.len() <= max_payload
    }

    fn add(&mut self, unit: &'a [u8]) {
        self.units[self.count] = unit;
        self.count += 1;
        self.bytes += SIZE_BYTES + unit.len();
    }

    fn flush(&mut self, max_payload: usize, payloads: &mut Payloads) {
        let units = &self.units[..self.count];
        if let [unit] = units {
            push_unit(unit, max_payload, payloads);
        } else if !units.is_empty() {
            payloads.extend(&[aggregate_header(units)]);
            for unit in units {
                // Fits: the sum stays within a payload, which has at most 65,535 bytes.
                payloads.extend(&(unit.len() as u16).to_be_bytes());
                payloads.extend(unit);
            }
            payloads.end();
        }
        (self.count, self.bytes) = (0, 0);
    }
}

/// Returns the STAP-A header: the highest NRI, and F if any unit has it (RFC 6184 §5.7).
fn aggregate_header(units: &[&[u8]]) -> u8 {
    let forbidden = units.iter().fold(0, |bits, unit| bits | unit[0] & 0x80);
    let importance = units.iter().map(|unit| unit[0] & 0x60).max().unwrap_or(0);
    forbidden | importance | nal::STAP_A
}

/// FU indicator and FU header.
const FU_BYTES: usize = 2;
/// Size field in front of each unit of a STAP-A.
const SIZE_BYTES: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(frame: &[&[u8]], expected: &[&[u8]]) {
        let mut payloads = Payloads::new();
        packetize(&frame.concat(), 64, &mut payloads).unwrap();
        assert_eq!(payloads.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn rfc_6184_section_5_6_single_nal_unit() {
        check(&[&[0, 0, 0, 1, 0x41, 1, 2]], &[&[0x41, 1, 2]]);
        check(&[&[0, 0, 1, 0x41], &[7; 63]], &[&[&[0x41][..], &[7; 63]].concat()]);
    }

    #[test]
    fn rfc_6184_section_5_7_1_stap_a_of_parameter_sets() {
        // NRI of the aggregate is the highest inside; the IDR picture stays outside.
        let stap = [24 | 0x60, 0, 2, 0x27, 1, 0, 1, 0x68, 0, 3, 0x06, 5, 9];
        check(
            &[&[0, 0, 0, 1, 0x27, 1], &[0, 0, 0, 1, 0x68], &[0, 0, 1, 6, 5, 9], &[0, 0, 0, 1, 0x65, 8]],
            &[&stap, &[0x65, 8]],
        );
    }

    #[test]
    fn what_does_not_fit_one_aggregate_goes_alone() {
        let sps = [&[0x67][..], &[1; 58]].concat();
        let pps = [0x68, 2];
        check(&[&[0, 0, 1], &sps, &[0, 0, 1], &pps, &[0, 0, 1, 0x65, 8]], &[&sps, &pps, &[0x65, 8]]);
        let many = [&[24][..], &[0, 1, 6].repeat(MAX_AGGREGATED_UNITS)].concat();
        check(&[&[0, 0, 1, 6].repeat(MAX_AGGREGATED_UNITS + 2)], &[&many, &[24, 0, 1, 6, 0, 1, 6]]);
    }

    #[test]
    fn rfc_6184_section_5_8_fu_a() {
        let body: Vec<u8> = (1..=100).collect();
        check(
            &[&[0, 0, 0, 1, 0x65], &body],
            &[&[&[0x7c, 0x85][..], &body[..50]].concat(), &[&[0x7c, 0x45][..], &body[50..]].concat()],
        );
    }

    #[test]
    fn delimiters_and_filler_are_dropped() {
        check(&[&[0, 0, 0, 1, 9, 0xf0], &[0, 0, 0, 1, 0x41, 1], &[0, 0, 1, 12, 0xff, 0x80]], &[&[0x41, 1]]);
        let only_filler = packetize(&[0, 0, 1, 12, 0xff], 64, &mut Payloads::new());
        assert_eq!(only_filler, Err(PacketizeError::Empty));
        assert_eq!(packetize(&[0x65, 1], 64, &mut Payloads::new()), Err(PacketizeError::NoStartCode));
    }
}
