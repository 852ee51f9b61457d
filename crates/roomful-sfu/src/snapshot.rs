//! How long the snapshot of a room is, so that no client is ever told more than it reads.

use roomful_protocol::{ParticipantInfo, StreamInfo, limits};

/// What the participants and streams of a room may need in a snapshot. What else a snapshot has fits beside it.
pub(crate) const SNAPSHOT_MAX: usize = limits::SIGNAL_TO_CLIENT_MAX - (1 << 20);

/// Returns the most that a participant needs in JSON, the longer of both encodings.
pub(crate) fn of_participant(info: &ParticipantInfo) -> usize {
    const REST: usize = 160;
    let texts = info.identity.iter().chain(&info.context);
    REST + texts.map(|text| of_text(text)).sum::<usize>()
}

/// Returns the most that a stream needs there, whatever becomes of its tracks: itself, and that somebody speaks in it.
pub(crate) fn of_stream(info: &StreamInfo) -> usize {
    const REST: usize = 280 + 140;
    REST + of_text(info.key.as_str())
}

/// Returns how long a text is in JSON (RFC 8259 §7).
fn of_text(text: &str) -> usize {
    let escaped = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(escaped).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use roomful_protocol::{SpeakingNotice, TrackInfo};
    use roomful_types::{Codec, ParticipantId, StreamId, StreamKey};

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_longer_than_it_is_taken_to_be(
            identity in prop::option::of(any::<String>()),
            context in prop::option::of("[\u{0}-\u{1f}\"\\\\a-z€]{0,200}"),
            key in "[a-z\"\\\\€]{1,20}",
            flags in any::<[bool; 2]>(),
        ) {
            let participant = ParticipantInfo {
                id: ParticipantId::from_random([7; 16]),
                identity: identity.map(Into::into),
                context: context.map(Into::into),
                can_receive_messages: false,
                telephone: true,
            };
            let written = serde_json::to_string(&participant).expect("JSON").len();
            prop_assert!(written <= of_participant(&participant));
            let track = Some(TrackInfo { codec: Codec::Opus, enabled: flags[0], censored: flags[1] });
            let stream = StreamInfo {
                id: StreamId::from_random([7; 16]),
                participant_id: participant.id,
                key: StreamKey::new(&key).expect("short"),
                audio: track,
                video: track,
            };
            let speaking = SpeakingNotice { participant_id: participant.id, stream_id: Some(stream.id), speaking: true };
            let written = serde_json::to_string(&stream).expect("JSON").len()
                + serde_json::to_string(&speaking).expect("JSON").len();
            prop_assert!(written <= of_stream(&stream), "{} of {}", written, of_stream(&stream));
        }
    }
}
