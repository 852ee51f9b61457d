//! The little of H.264 that file formats need: NAL units, and the picture size of a sequence parameter set.

/// Returns the NAL units of an Annex-B byte sequence, without start codes and the zeros around them, none empty.
///
/// What comes before the first start code is left out.
///
/// Source: H.264 §B.1.
pub(super) fn units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut next = find_start_code(stream, 0).map(|at| at + 3);
    std::iter::from_fn(move || {
        let start = next?;
        let found = find_start_code(stream, start);
        next = found.map(|at| at + 3);
        Some(without_trailing_zeros(&stream[start..found.unwrap_or(stream.len())]))
    })
    .filter(|unit| !unit.is_empty())
}

/// Returns where the first `00 00 01` at or after `from` begins.
pub(super) fn find_start_code(stream: &[u8], from: usize) -> Option<usize> {
    let found = stream.get(from..)?.windows(3).position(|three| three == [0, 0, 1])?;
    Some(from + found)
}

/// A NAL unit never ends with a zero (H.264 §7.4.1): what is there is padding, or part of a 4-byte start code.
pub(super) fn without_trailing_zeros(unit: &[u8]) -> &[u8] {
    let length = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &unit[..length]
}

/// Returns whether the unit holds a slice of a picture.
pub(super) const fn is_slice(unit: &[u8]) -> bool {
    matches!(unit_type(unit), 1..=5)
}

/// Returns whether the unit is a sequence parameter set.
pub(super) const fn is_parameter_set(unit: &[u8]) -> bool {
    unit_type(unit) == SPS
}

/// Returns whether a unit that follows a slice belongs to the next access unit.
///
/// Source: H.264 §7.4.1.2.3. Of the ways in which the first slice of a new picture may differ from the last, only
/// `first_mb_in_slice` being 0 is looked at: enough without arbitrary slice order and redundant pictures.
pub(super) fn starts_access_unit(unit: &[u8]) -> bool {
    match unit_type(unit) {
        // ue(v) of 0 is a single set bit, and first_mb_in_slice comes first (H.264 §7.3.3, §9.1).
        1 | 2 | 5 => unit.get(1).is_some_and(|byte| byte & 0x80 != 0),
        SEI | SPS | PPS | DELIMITER | 14..=18 => true,
        _ => false,
    }
}

/// Returns whether the unit stays in the canonical form, which is what comes out of RTP: without delimiters, filler
/// and the types that H.264 leaves open.
pub(super) const fn is_kept(unit: &[u8]) -> bool {
    !matches!(unit_type(unit), 0 | DELIMITER | FILLER | 24..)
}

/// Returns the unit's type (H.264 table 7-1); 0, which is none, for an empty one.
const fn unit_type(unit: &[u8]) -> u8 {
    match unit {
        [header, ..] => *header & 0x1f,
        [] => 0,
    }
}

/// Reads width and height in pixels from a sequence parameter set.
///
/// `None`: it is damaged, or has scaling matrices, which real-time encoders do not send.
///
/// Source: H.264 §7.3.2.1.1, and §7.4.2.1.1 for what the values mean.
pub(super) fn resolution(unit: &[u8]) -> Option<(u16, u16)> {
    let payload = without_emulation_prevention(unit.get(1..)?);
    let mut bits = Bits { bytes: &payload, at: 0 };
    let profile = bits.read(8)?;
    bits.read(16)?; // constraint flags, level
    bits.exp_golomb()?; // id
    let mut chroma_format = 1;
    if matches!(profile, 44 | 83 | 86 | 100 | 110 | 118 | 122 | 128 | 134 | 135 | 138 | 139 | 244) {
        chroma_format = bits.exp_golomb()?;
        if chroma_format == 3 {
            bits.read(1)?; // separate planes
        }
        bits.exp_golomb()?; // luma depth
        bits.exp_golomb()?; // chroma depth
        bits.read(1)?; // transform bypass
        if bits.read(1)? == 1 {
            return None;
        }
    }
    bits.exp_golomb()?; // frame number bits
    skip_picture_order(&mut bits)?;
    bits.exp_golomb()?; // reference frames
    bits.read(1)?; // gaps allowed
    let width = bits.exp_golomb()?.checked_add(1)?.checked_mul(16)?;
    let height_units = bits.exp_golomb()?.checked_add(1)?;
    let frames_only = bits.read(1)?;
    if frames_only == 0 {
        bits.read(1)?; // adaptive field coding
    }
    let height = height_units.checked_mul(16 * (2 - frames_only))?;
    bits.read(1)?; // direct 8x8 inference
    let (mut across, mut down) = (0_u32, 0_u32);
    if bits.read(1)? == 1 {
        let (left, right) = (bits.exp_golomb()?, bits.exp_golomb()?);
        let (top, bottom) = (bits.exp_golomb()?, bits.exp_golomb()?);
        let unit_x = if matches!(chroma_format, 1 | 2) { 2 } else { 1 };
        let unit_y = if chroma_format == 1 { 2 } else { 1 } * (2 - frames_only);
        across = left.checked_add(right)?.checked_mul(unit_x)?;
        down = top.checked_add(bottom)?.checked_mul(unit_y)?;
    }
    let pixels = |size: u32, cropped| u16::try_from(size.checked_sub(cropped)?).ok().filter(|size| *size > 0);
    Some((pixels(width, across)?, pixels(height, down)?))
}

/// Skips what says how pictures are ordered.
fn skip_picture_order(bits: &mut Bits<'_>) -> Option<()> {
    match bits.exp_golomb()? {
        0 => {
            bits.exp_golomb()?;
        }
        1 => {
            bits.read(1)?;
            bits.exp_golomb()?;
            bits.exp_golomb()?;
            let cycle = bits.exp_golomb()?;
            for _ in 0..cycle.min(255) {
                bits.exp_golomb()?;
            }
        }
        _ => {}
    }
    Some(())
}

/// Removes the byte 3 of every `00 00 03` (H.264 §7.4.1).
fn without_emulation_prevention(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len());
    for (index, &byte) in payload.iter().enumerate() {
        if byte != 3 || index < 2 || payload[index - 2..index] != [0, 0] {
            out.push(byte);
        }
    }
    out
}

/// Reads bits from the highest down.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    /// Reads up to 31 bits as a number.
    fn read(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// Reads ue(v), and se(v) where only its length matters (H.264 §9.1).
    fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.read(1)? == 0 {
            zeros += 1;
            if zeros > 30 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.read(zeros)?)
    }
}

const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const DELIMITER: u8 = 9;
const FILLER: u8 = 12;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_lose_their_start_codes_and_padding() {
        let stream = [9, 0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x68, 2, 0, 0, 0, 0, 1, 0, 0, 1, 0x65, 3, 0];
        let found: Vec<_> = units(&stream).collect();
        assert_eq!(found, [&[0x67, 1][..], &[0x68, 2], &[0x65, 3]]);
    }

    #[test]
    fn the_size_is_cropped() {
        // Constrained baseline, level 3.0: 640×360 is 40×23 macroblocks less 8 lines.
        let unit = [0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x61, 0x00];
        assert_eq!(resolution(&unit), Some((640, 360)));
        assert_eq!(resolution(&unit[..6]), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = resolution(&bytes);
            prop_assert!(units(&bytes).all(|unit| !unit.is_empty()));
        }
    }
}
