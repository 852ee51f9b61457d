//! H.264 NAL units: their types (H.264 table 7-1), and the two ways they come in rows.

use memchr::memmem;

/// Bits of the NAL unit header that hold the type; F and NRI are the others (RFC 6184 §1.3).
pub(crate) const TYPE_MASK: u8 = 0x1f;
pub(crate) const IDR: u8 = 5;
pub(crate) const SEI: u8 = 6;
pub(crate) const SPS: u8 = 7;
pub(crate) const PPS: u8 = 8;
pub(crate) const ACCESS_UNIT_DELIMITER: u8 = 9;
pub(crate) const FILLER_DATA: u8 = 12;
/// The highest type that is a NAL unit of its own; above are the RTP packet structures (RFC 6184 table 1).
pub(crate) const LAST_UNIT: u8 = 23;
pub(crate) const STAP_A: u8 = 24;
pub(crate) const FU_A: u8 = 28;

/// S bit of the FU header (RFC 6184 §5.8).
pub(crate) const FU_START: u8 = 0x80;
/// E bit of the FU header.
pub(crate) const FU_END: u8 = 0x40;

/// Start code of the canonical Annex-B form.
pub(crate) const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Returns the type of a NAL unit, or of the packet structure that a payload's first byte announces.
pub(crate) const fn unit_type(header: u8) -> u8 {
    header & TYPE_MASK
}

/// The NAL units of an Annex-B byte stream, none empty, without start codes and the zeros around them.
pub(crate) struct AnnexB<'a> {
    /// Begins behind a start code.
    rest: &'a [u8],
    start_code: memmem::Finder<'static>,
}

impl<'a> AnnexB<'a> {
    /// Finds the first start code. `None`: there is none, or something other than zeros stands in front of it.
    pub(crate) fn new(stream: &'a [u8]) -> Option<Self> {
        // The 4-byte start code is the 3-byte one after a zero, and zeros may stand in front of either (H.264 §B.1).
        let start_code = memmem::Finder::new(&START_CODE[1..]);
        let at = start_code.find(stream)?;
        let (zeros, rest) = stream.split_at(at);
        zeros.iter().all(|byte| *byte == 0).then_some(Self { rest: &rest[3..], start_code })
    }

    /// Returns whether the units make a key frame: has an IDR picture, or an SPS before the first slice.
    ///
    /// The first unit that decides is right for the whole, since the slices of one picture are all IDR or none
    /// (H.264 §7.4.1.2.4). Usually it stands in front, so the search for its end is left out.
    pub(crate) fn is_keyframe(&self) -> bool {
        let mut rest = self.rest;
        loop {
            match rest.first().map_or(0, |header| unit_type(*header)) {
                IDR | SPS => return true,
                1..IDR => return false,
                _ => {}
            }
            let Some(at) = self.start_code.find(rest) else { return false };
            rest = &rest[at + 3..];
        }
    }
}

impl<'a> Iterator for AnnexB<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let (unit, rest) = match self.start_code.find(self.rest) {
                Some(at) => (&self.rest[..at], &self.rest[at + 3..]),
                None => (self.rest, &[][..]),
            };
            self.rest = rest;
            // A NAL unit never ends with a zero (H.264 §7.4.1): those there are padding, or part of a start code.
            let length = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if length > 0 {
                return Some(&unit[..length]);
            }
        }
        None
    }
}

/// The NAL units of a STAP-A payload (RFC 6184 §5.7.1). `None` among them: the payload is malformed from there on.
pub(crate) struct Aggregated<'a> {
    rest: &'a [u8],
}

impl<'a> Aggregated<'a> {
    /// Takes the payload behind its STAP-A header.
    pub(crate) const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }
}

impl<'a> Iterator for Aggregated<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        if self.rest.is_empty() {
            return None;
        }
        let unit = self.rest.split_first_chunk().and_then(|(size, rest)| {
            let (unit, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
            self.rest = rest;
            (!unit.is_empty()).then_some(unit)
        });
        if unit.is_none() {
            self.rest = &[];
        }
        Some(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(stream: &[u8], expected: Option<&[&[u8]]>) {
        let units = AnnexB::new(stream).map(Iterator::collect::<Vec<_>>);
        assert_eq!(units.as_deref(), expected);
    }

    #[test]
    fn annex_b_takes_both_start_codes_and_drops_the_zeros_around_them() {
        check(&[0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2], Some(&[&[0x67, 1], &[0x68, 2]]));
        check(&[0, 0, 0, 0, 0, 1, 0x67, 0, 0, 0, 0, 0, 1, 0x68, 0, 0], Some(&[&[0x67], &[0x68]]));
        check(&[0, 0, 1, 0, 0, 1, 0x65], Some(&[&[0x65]]));
        check(&[0, 0, 1], Some(&[]));
    }

    #[test]
    fn what_does_not_begin_with_a_start_code_is_not_annex_b() {
        check(&[], None);
        check(&[0, 0, 0], None);
        check(&[0x65, 1, 2, 3], None);
        check(&[7, 0, 0, 1, 0x65], None);
    }

    #[test]
    fn an_aggregate_ends_at_its_first_error() {
        let units = |body: &'static [u8]| Aggregated::new(body).collect::<Vec<_>>();
        assert_eq!(units(&[0, 1, 0x67, 0, 2, 0x68, 9]), [Some(&[0x67][..]), Some(&[0x68, 9])]);
        assert_eq!(units(&[0, 1, 0x67, 0, 3, 0x68, 9]), [Some(&[0x67][..]), None]);
        assert_eq!(units(&[0, 0, 0, 1, 0x67]), [None]);
        assert_eq!(units(&[0]), [None]);
    }
}
