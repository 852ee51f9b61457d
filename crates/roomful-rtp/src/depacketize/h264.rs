//! H.264 payloads: single NAL units, STAP-A and FU-A, made into Annex-B (RFC 6184 §5.6 to §5.8).

use super::Malformed;
use crate::nal::{self, Aggregated};

/// Appends the NAL units, or the fragment of one, that a payload carries.
///
/// * `fragment`: type of the NAL unit whose last fragment is still to come; carried from payload to payload.
pub(super) fn append(
    payload: &[u8],
    fragment: &mut Option<u8>,
    frame: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let (header, body) = payload.split_first().ok_or(Malformed)?;
    match nal::unit_type(*header) {
        nal::FU_A => append_fragment(*header, body, fragment, frame),
        // Fragments of one unit follow each other without anything between (RFC 6184 §5.8).
        _ if fragment.is_some() => Err(Malformed),
        nal::STAP_A if body.is_empty() => Err(Malformed),
        nal::STAP_A => Aggregated::new(body).try_for_each(|unit| append_unit(unit.ok_or(Malformed)?, frame)),
        _ => append_unit(payload, frame),
    }
}

/// Appends one whole NAL unit, which is not empty.
fn append_unit(unit: &[u8], frame: &mut Vec<u8>) -> Result<(), Malformed> {
    // Packet structures of the interleaved mode, and aggregates within aggregates, are not of packetization mode 1.
    if !(1..=nal::LAST_UNIT).contains(&nal::unit_type(unit[0])) {
        return Err(Malformed);
    }
    frame.extend_from_slice(&nal::START_CODE);
    frame.extend_from_slice(unit);
    Ok(())
}

/// Appends one fragment; the first one also brings the NAL unit's header.
fn append_fragment(
    indicator: u8,
    body: &[u8],
    fragment: &mut Option<u8>,
    frame: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let (fu_header, piece) = body.split_first().ok_or(Malformed)?;
    let unit_type = nal::unit_type(*fu_header);
    let expected = if fu_header & nal::FU_START == 0 { Some(unit_type) } else { None };
    if *fragment != expected || piece.is_empty() {
        return Err(Malformed);
    }
    if expected.is_none() {
        append_unit(&[indicator & !nal::TYPE_MASK | unit_type], frame)?;
    }
    frame.extend_from_slice(piece);
    // A fragment that is both first and last is not allowed, yet is whole; taking it costs nothing.
    *fragment = if fu_header & nal::FU_END == 0 { Some(unit_type) } else { None };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(payloads: &[&[u8]], expected: Result<&[u8], Malformed>) {
        let (mut fragment, mut frame) = (None, Vec::new());
        let result = payloads.iter().try_for_each(|payload| append(payload, &mut fragment, &mut frame));
        let result = if fragment.is_some() { result.and(Err(Malformed)) } else { result };
        assert_eq!(result.map(|()| &frame[..]), expected);
    }

    #[test]
    fn rfc_6184_section_5_6_single_nal_unit() {
        check(&[&[0x41, 1], &[0x41, 2]], Ok(&[0, 0, 0, 1, 0x41, 1, 0, 0, 0, 1, 0x41, 2]));
        for header in [0, 25, 26, 27, 29, 30, 31] {
            check(&[&[header, 1, 2, 3, 4]], Err(Malformed));
        }
        check(&[&[]], Err(Malformed));
    }

    #[test]
    fn rfc_6184_section_5_7_1_stap_a() {
        check(&[&[0x78, 0, 2, 0x67, 1, 0, 1, 0x68]], Ok(&[0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68]));
        check(&[&[0x78]], Err(Malformed));
        check(&[&[0x78, 0, 2, 0x67]], Err(Malformed));
        check(&[&[0x78, 0, 0]], Err(Malformed));
        check(&[&[0x78, 0, 4, 24, 0, 1, 0x67]], Err(Malformed));
    }

    #[test]
    fn rfc_6184_section_5_8_fu_a() {
        let (start, middle, end) = ([0x7c, 0x85, 1], [0x7c, 0x05, 2], [0x7c, 0x45, 3]);
        check(&[&start, &middle, &end], Ok(&[0, 0, 0, 1, 0x65, 1, 2, 3]));
        check(&[&start, &middle], Err(Malformed));
        check(&[&middle, &end], Err(Malformed));
        check(&[&start, &start, &end], Err(Malformed));
        check(&[&start, &[0x41, 1], &end], Err(Malformed));
        check(&[&start, &[0x7c, 0x41, 3]], Err(Malformed));
        check(&[&[0x7c]], Err(Malformed));
        check(&[&start, &[0x7c, 0x05], &end], Err(Malformed));
        check(&[&[0x7c, 0xc5, 1]], Ok(&[0, 0, 0, 1, 0x65, 1])); // start and end in one
    }
}
