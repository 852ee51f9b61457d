//! RTP headers (RFC 3550 §5.1) with the extensions (RFC 8285) that the server reads or writes.

use roomful_types::{AudioLevel, Mid, PassedExtensions, Rid};
use str0m::rtp::{Extension, ExtensionMap};

/// What the extensions are called between both sides. One for all sections, which share a transport (RFC 8843 §8).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ExtensionIds {
    mid: Option<u8>,
    rid: Option<u8>,
    repaired_rid: Option<u8>,
    transport_sequence: Option<u8>,
    send_time: Option<u8>,
    audio_level: Option<u8>,
    orientation: Option<u8>,
    playout_delay: Option<u8>,
    capture_time: Option<u8>,
}

/// The values of the extensions that are there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extensions {
    /// The section (RFC 8843 §15).
    pub(super) mid: Option<Mid>,
    /// The encoding (RFC 8852 §3.1).
    pub(super) rid: Option<Rid>,
    /// The encoding that is repaired (RFC 8852 §3.2).
    pub(super) repaired_rid: Option<Rid>,
    /// One of the two names an encoding that nobody agreed on. Read only.
    pub(super) has_unknown_rid: bool,
    /// The number over the whole transport (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    pub(super) transport_sequence: Option<u16>,
    /// When it leaves: 6 bits of seconds and 18 of fractions (`http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`). Written only.
    pub(super) send_time: Option<u32>,
    /// What passes from one hop to the next.
    pub(super) passed: PassedExtensions,
}

/// The fields of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) payload_type: u8,
    pub(super) marker: bool,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    pub(super) extensions: Extensions,
}

const FIXED: usize = 12;
/// Beside a level: it is taken for speech (RFC 6464 §3).
const SPEECH: u8 = 0x80;
/// The longest block of extensions that is written: its head, a mid and a capture time of 16 bytes, five short values, to whole words.
const EXTENSIONS_MAX: usize = 56;
const ONE_BYTE: u16 = 0xbede;
/// The lower four bits are the application's.
const TWO_BYTES: u16 = 0x1000;

impl ExtensionIds {
    /// Notes what a section negotiated.
    pub(super) fn learn(&mut self, map: &ExtensionMap) {
        let known = [
            (&mut self.mid, Extension::RtpMid),
            (&mut self.rid, Extension::RtpStreamId),
            (&mut self.repaired_rid, Extension::RepairedRtpStreamId),
            (&mut self.transport_sequence, Extension::TransportSequenceNumber),
            (&mut self.send_time, Extension::AbsoluteSendTime),
            (&mut self.audio_level, Extension::AudioLevel),
            (&mut self.orientation, Extension::VideoOrientation),
            (&mut self.playout_delay, Extension::PlayoutDelay),
            (&mut self.capture_time, Extension::AbsoluteCaptureTime),
        ];
        for (id, extension) in known {
            // Above 14 it would need the form of two bytes (RFC 8285 §4.2), which nobody offers us.
            *id = map.id_of(extension).filter(|id| (1..15).contains(id)).or(*id);
        }
    }

    fn read(&self, block: &[u8], extensions: &mut Extensions) {
        let Some((head, mut elements)) = block.split_first_chunk::<4>() else { return };
        let form = u16::from_be_bytes([head[0], head[1]]);
        while let Some((first, rest)) = elements.split_first() {
            if *first == 0 {
                // Padding.
                elements = rest;
                continue;
            }
            let (id, length, rest) = match form {
                // Reserved: nothing behind it is to be read (RFC 8285 §4.2).
                ONE_BYTE if first >> 4 == 15 => return,
                ONE_BYTE => (first >> 4, usize::from(first & 0x0f) + 1, rest),
                form if form & 0xfff0 == TWO_BYTES => {
                    let Some((length, rest)) = rest.split_first() else { return };
                    (*first, usize::from(*length), rest)
                }
                _ => return,
            };
            let Some((value, rest)) = rest.split_at_checked(length) else { return };
            elements = rest;
            self.read_one(id, value, extensions);
        }
    }

    fn read_one(&self, id: u8, value: &[u8], extensions: &mut Extensions) {
        let text = || std::str::from_utf8(value).unwrap_or_default();
        let id = Some(id);
        if id == self.mid {
            extensions.mid = Mid::new(text()).ok();
        } else if id == self.rid {
            extensions.rid = text().parse().ok();
            extensions.has_unknown_rid |= extensions.rid.is_none();
        } else if id == self.repaired_rid {
            extensions.repaired_rid = text().parse().ok();
            extensions.has_unknown_rid |= extensions.repaired_rid.is_none();
        } else if id == self.transport_sequence {
            extensions.transport_sequence = value.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
        } else if id == self.audio_level {
            let level = value.first().map(|byte| AudioLevel::from_negative_dbov(byte & 0x7f));
            extensions.passed.audio_level = level;
            extensions.passed.is_speech = value.first().is_some_and(|byte| byte & SPEECH != 0);
        } else if id == self.orientation {
            extensions.passed.orientation = value.first().copied();
        } else if id == self.playout_delay {
            extensions.passed.playout_delay = value.first_chunk().copied();
        } else if id == self.capture_time {
            let words = value.split_first_chunk();
            extensions.passed.capture_time = words.map(|(time, offset)| {
                (u64::from_be_bytes(*time), offset.first_chunk().map(|offset| i64::from_be_bytes(*offset)))
            });
        }
    }

    /// Writes the block of extensions, if there are any. Returns its length.
    fn write(&self, extensions: &Extensions, out: &mut [u8]) -> usize {
        let mut end = 4;
        let mut put = |id: Option<u8>, value: &[u8]| {
            if let Some(id) = id {
                out[end] = id << 4 | (value.len() - 1) as u8;
                out[end + 1..end + 1 + value.len()].copy_from_slice(value);
                end += 1 + value.len();
            }
        };
        if let Some(number) = extensions.transport_sequence {
            put(self.transport_sequence, &number.to_be_bytes());
        }
        if let Some(mid) = extensions.mid {
            put(self.mid, mid.as_str().as_bytes());
        }
        if let Some(time) = extensions.send_time {
            put(self.send_time, &time.to_be_bytes()[1..]);
        }
        let PassedExtensions { audio_level, is_speech, orientation, playout_delay, capture_time } =
            extensions.passed;
        if let Some(level) = audio_level {
            put(self.audio_level, &[level.as_negative_dbov() | if is_speech { SPEECH } else { 0 }]);
        }
        if let Some(orientation) = orientation {
            put(self.orientation, &[orientation]);
        }
        if let Some(delay) = playout_delay {
            put(self.playout_delay, &delay);
        }
        match capture_time {
            None => {}
            Some((time, None)) => put(self.capture_time, &time.to_be_bytes()),
            Some((time, Some(offset))) => {
                let mut value = [0; 16];
                value[..8].copy_from_slice(&time.to_be_bytes());
                value[8..].copy_from_slice(&offset.to_be_bytes());
                put(self.capture_time, &value);
            }
        }
        if end == 4 {
            return 0;
        }
        let words = (end - 4).div_ceil(4);
        let [b0, b1] = ONE_BYTE.to_be_bytes();
        out[..4].copy_from_slice(&[b0, b1, 0, words as u8]);
        4 + 4 * words
    }
}

impl Header {
    /// Reads the header of a packet that SRTP opened, and where its payload is, without padding.
    ///
    /// * `length`: of the header with contributing sources and extensions.
    pub(super) fn read(
        packet: &[u8],
        length: usize,
        ids: &ExtensionIds,
    ) -> Option<(Self, std::ops::Range<usize>)> {
        let fixed: &[u8; FIXED] = packet.first_chunk()?;
        let [flags, kind, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        let padding = match flags & 0x20 {
            0 => 0,
            _ => usize::from(*packet.last()?),
        };
        let end = packet.len().checked_sub(padding).filter(|end| *end >= length)?;
        let mut extensions = Extensions::default();
        if flags & 0x10 != 0 {
            ids.read(packet.get(FIXED + 4 * usize::from(flags & 0x0f)..length)?, &mut extensions);
        }
        let header = Self {
            payload_type: kind & 0x7f,
            marker: kind & 0x80 != 0,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            extensions,
        };
        Some((header, length..end))
    }

    /// Writes the header of a packet.
    ///
    /// * `is_padded`: whether there is padding behind the payload, the last byte of which says how much.
    pub(super) fn write(&self, ids: &ExtensionIds, is_padded: bool, out: &mut Vec<u8>) {
        let mut bytes = [0; FIXED + EXTENSIONS_MAX];
        let length = FIXED + ids.write(&self.extensions, &mut bytes[FIXED..]);
        let has_extensions = length > FIXED;
        bytes[0] = 0x80 | u8::from(is_padded) << 5 | u8::from(has_extensions) << 4;
        bytes[1] = self.payload_type | u8::from(self.marker) << 7;
        bytes[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        out.extend_from_slice(&bytes[..length]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDS: ExtensionIds = ExtensionIds {
        mid: Some(1),
        rid: Some(2),
        repaired_rid: Some(3),
        transport_sequence: Some(4),
        send_time: Some(6),
        audio_level: Some(5),
        orientation: Some(7),
        playout_delay: Some(8),
        capture_time: Some(9),
    };

    #[test]
    fn the_time_of_leaving_is_three_bytes_and_written_where_it_was_negotiated_alone() {
        let extensions = Extensions { send_time: Some(0x0012_3456), ..Extensions::default() };
        let mut out = [0; EXTENSIONS_MAX];
        let length = IDS.write(&extensions, &mut out);
        assert_eq!(out[..length], [0xbe, 0xde, 0, 1, 0x62, 0x12, 0x34, 0x56]);
        assert_eq!(ExtensionIds::default().write(&extensions, &mut out), 0);
    }

    #[test]
    fn rfc_8285_forms_of_one_and_of_two_bytes() {
        let fixed = [0x90, 0xe0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 42];
        let one = [0xbe, 0xde, 0, 2, 0x10, b'a', 0, 0x20, b'h', 0x41, 1, 2];
        let two = [0x10, 0, 0, 3, 1, 1, b'a', 2, 1, b'h', 0, 4, 2, 1, 2, 0];
        for block in [&one[..], &two[..]] {
            let packet = [&fixed, block, b"payload"].concat();
            let length = fixed.len() + block.len();
            let (header, payload) = Header::read(&packet, length, &IDS).expect("a header");
            assert_eq!((header.payload_type, header.marker, header.sequence), (0x60, true, 7));
            assert_eq!((header.timestamp, header.ssrc), (9, 42));
            assert_eq!(header.extensions.mid, Mid::new("a").ok());
            assert_eq!(header.extensions.rid, Some(Rid::High));
            assert_eq!(header.extensions.transport_sequence, Some(0x102));
            assert_eq!(&packet[payload], b"payload");
        }
    }

    #[test]
    fn nothing_is_read_behind_the_reserved_id_and_unknown_encodings_are_told() {
        let read = |block: &[u8]| {
            let packet = [&[0x90, 0xe0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 42][..], block].concat();
            Header::read(&packet, packet.len(), &IDS).expect("a header").0.extensions
        };
        let extensions = read(&[0xbe, 0xde, 0, 2, 0x10, b'a', 0xf0, 7, 0x20, b'h', 0, 0]);
        assert_eq!((extensions.mid, extensions.rid), (Mid::new("a").ok(), None));
        for (name, is_known) in [(b'h', true), (b'f', false)] {
            let extensions = read(&[0xbe, 0xde, 0, 1, 0x20, name, 0, 0]);
            assert_eq!((extensions.rid.is_some(), extensions.has_unknown_rid), (is_known, !is_known));
        }
    }

    #[test]
    fn padding_is_no_payload_and_cannot_be_longer_than_the_packet() {
        let packet = |padding| [&[0xa0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1][..], b"xx\0", &[padding]].concat();
        let payload = |padding| Header::read(&packet(padding), 12, &IDS).map(|(_, payload)| payload);
        assert_eq!((payload(2), payload(4), payload(5)), (Some(12..14), Some(12..12), None));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            kind in 0..128_u8,
            marker in any::<bool>(),
            numbers in any::<(u16, u32, u32)>(),
            mid in prop::option::of("[a-z0-9]{1,16}"),
            transport_sequence in prop::option::of(any::<u16>()),
            level in prop::option::of(0..128_u8),
            passed in any::<(Option<u8>, Option<[u8; 3]>, Option<(u64, Option<i64>)>)>(),
            payload in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let (sequence, timestamp, ssrc) = numbers;
            let extensions = Extensions {
                mid: mid.map(|mid| Mid::new(&mid).expect("short")),
                transport_sequence,
                passed: PassedExtensions {
                    audio_level: level.map(AudioLevel::from_negative_dbov),
                    is_speech: level.is_some() && marker,
                    orientation: passed.0,
                    playout_delay: passed.1,
                    capture_time: passed.2,
                },
                ..Extensions::default()
            };
            let header = Header { payload_type: kind, marker, sequence, timestamp, ssrc, extensions };
            let mut packet = Vec::new();
            header.write(&IDS, false, &mut packet);
            let length = packet.len();
            prop_assert_eq!(length % 4, 0);
            packet.extend(&payload);
            let (read, place) = Header::read(&packet, length, &IDS).expect("a header");
            prop_assert_eq!(read, header);
            prop_assert_eq!(&packet[place], &payload[..]);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), length in 0..80_usize) {
            let _ = Header::read(&bytes, length, &IDS);
        }
    }
}
