//! What the first bytes of an Opus packet say (RFC 6716 §3).

/// Samples per second of every Opus time stamp (RFC 7587 §4.1, RFC 7845 §4).
pub(super) const SAMPLE_RATE: u64 = 48_000;

/// Longest packet: 120 ms (RFC 6716 §3.2.5, R5).
pub(super) const MAX_SAMPLES: u64 = 5_760;

/// Returns the samples, at 48 kHz, of one frame of a packet with this TOC byte (RFC 6716 §3.1, table 2).
pub(super) const fn frame_samples(toc: u8) -> u64 {
    let config = toc >> 3;
    match config {
        0..12 => [480, 960, 1_920, 2_880][config as usize % 4],
        12..16 => [480, 960][config as usize % 2],
        _ => [120, 240, 480, 960][config as usize % 4],
    }
}

/// Returns the samples, at 48 kHz, of a whole packet. `None`: it is not a valid packet.
pub(super) fn samples(packet: &[u8]) -> Option<u64> {
    let toc = *packet.first()?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(*packet.get(1)? & 0x3f),
    };
    let samples = frames * frame_samples(toc);
    (1..=MAX_SAMPLES).contains(&samples).then_some(samples)
}

/// Returns whether a packet has no audio in it, only the wish to conceal: DTX, or a packet that was lost.
pub(super) const fn is_empty(packet: &[u8]) -> bool {
    match packet {
        [toc] => *toc & 3 != 3,
        [toc, _] => *toc & 3 == 3,
        _ => false,
    }
}

/// Returns a packet of `frames` frames without audio, like those with `toc` otherwise.
///
/// * `frames`: from 1 to 120 ms of them.
///
/// Source: RFC 7845 §4.1 for the purpose; RFC 6716 §3.2.2, §3.2.5 (code 3, constant bit rate) for the form.
pub(super) fn concealment(toc: u8, frames: u64) -> Vec<u8> {
    match frames {
        ..=1 => vec![toc & !3],
        _ => vec![toc | 3, frames.min(48) as u8],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(packet: &[u8], expected: Option<u64>) {
        assert_eq!(samples(packet), expected);
    }

    #[test]
    fn rfc_6716_table_2_and_section_3_2_frame_counts() {
        check(&[1 << 3, 0], Some(960)); // SILK, 20 ms
        check(&[3 << 3], Some(2_880)); // SILK, 60 ms
        check(&[13 << 3], Some(960)); // hybrid, 20 ms
        check(&[16 << 3], Some(120)); // CELT, 2.5 ms
        check(&[31 << 3 | 1], Some(1_920)); // two of 20 ms
        check(&[31 << 3 | 3, 0x83], Some(2_880)); // three, with the flag of variable bit rate
        check(&[3 << 3 | 3, 3], None); // 180 ms
        check(&[31 << 3 | 3, 0], None);
        check(&[31 << 3 | 3], None);
        check(&[], None);
    }

    #[test]
    fn concealment_lasts_as_long_as_it_says_and_is_empty() {
        for config in 0..32 {
            let toc = config << 3 | 1;
            for frames in 1..=MAX_SAMPLES / frame_samples(toc) {
                let packet = concealment(toc, frames);
                assert_eq!(samples(&packet), Some(frames * frame_samples(toc)));
                assert!(is_empty(&packet));
            }
        }
        assert!(!is_empty(&[0, 1]) && !is_empty(&[3, 1, 0]) && !is_empty(&[3]));
    }
}
