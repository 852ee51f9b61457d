//! Synthetic frames that say whose they are.

use std::time::Duration;

use bytes::Bytes;
use roomful_sfu::SourcePacket;
use roomful_types::{AudioLevel, Bitrate, Codec, MediaKind, ParticipantId, StreamKey};

/// Numbers a track over the whole run; every frame carries it.
pub(super) type Tag = u32;

/// Who published what under which name, by the tag of its frames.
#[derive(Debug, Default)]
pub(super) struct Tags(Vec<Owner>);

/// Whose frames they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) publisher: ParticipantId,
    pub(super) key: StreamKey,
    pub(super) kind: MediaKind,
}

impl Tags {
    /// Makes the tag of a track.
    pub(super) fn add(&mut self, publisher: ParticipantId, key: StreamKey, kind: MediaKind) -> Tag {
        self.0.push(Owner { publisher, key, kind });
        self.0.len() as Tag - 1
    }

    /// Returns whose frames carry a tag.
    pub(super) fn get(&self, tag: Tag) -> &Owner {
        &self.0[tag as usize]
    }
}

/// What a participant looks at of a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet {
    pub(super) sequence: u64,
    pub(super) tag: Tag,
    pub(super) is_keyframe: bool,
}

impl Packet {
    pub(super) fn of(packet: &SourcePacket) -> Self {
        let is_keyframe = packet.payload.get(1) == Some(&0);
        Self { sequence: packet.sequence, tag: tag_of(&packet.payload), is_keyframe }
    }
}

/// Makes the payload of a faked packet, which is a whole frame: what its codec demands, then the tag.
pub(super) fn payload(codec: Codec, is_keyframe: bool, tag: Tag) -> Vec<u8> {
    // VP8: start of partition 0 (RFC 7741 §4.2); the first bit of the frame is 0 for a key frame (RFC 6386 §9.1).
    let head = match codec {
        Codec::Vp8 => [0x10, u8::from(!is_keyframe)],
        Codec::H264 => [if is_keyframe { 0x67 } else { 0x41 }, u8::from(!is_keyframe)],
        Codec::Opus => [0xfc, 0],
    };
    let [a, b, c, d] = tag.to_be_bytes();
    vec![head[0], head[1], a, b, c, d]
}

/// Makes a whole frame as an encoder with this target gives it, with the tag in it.
pub(super) fn frame(codec: Codec, is_keyframe: bool, tag: Tag, target: Bitrate) -> Bytes {
    // VP8: 3 bytes of frame tag, then of key frames a start code and the size (RFC 6386 §9.1).
    let head: &[u8] = match codec {
        Codec::Vp8 if is_keyframe => &[0, 0, 0, 0x9d, 1, 0x2a, 64, 0, 64, 0],
        Codec::Vp8 => &[1, 0, 0],
        Codec::H264 if is_keyframe => &[0, 0, 0, 1, 0x67, 0, 0, 0, 1, 0x65],
        Codec::H264 => &[0, 0, 0, 1, 0x41],
        Codec::Opus => &[0xfc],
    };
    let size = match codec.kind() {
        MediaKind::Audio => 80,
        MediaKind::Video => (target.as_bps() / 8 / 30).clamp(60, 900) as usize,
    };
    let mut data = vec![0x55; size];
    data[..head.len()].copy_from_slice(head);
    data[size - 4..].copy_from_slice(&tag.to_be_bytes());
    data.into()
}

/// Returns how loud a track is at some time: two seconds of speech, four of silence; not all at once, nor equally loud.
pub(super) fn level(tag: Tag, time: Duration) -> AudioLevel {
    let is_speech = (time.as_secs() / 2 + u64::from(tag)).is_multiple_of(3);
    AudioLevel::from_negative_dbov(if is_speech { 40 - (tag % 16) as u8 } else { 90 })
}

/// Returns the tag of a whole frame.
pub(super) fn tag_of_frame(data: &[u8]) -> Tag {
    let tag = data.last_chunk().expect("every frame of the simulation has a tag");
    Tag::from_be_bytes(*tag)
}

/// Returns the tag of a faked packet.
pub(super) fn tag_of(payload: &[u8]) -> Tag {
    let bytes = payload.get(2..6).and_then(|bytes| bytes.try_into().ok());
    Tag::from_be_bytes(bytes.expect("every frame of the simulation has a tag"))
}
