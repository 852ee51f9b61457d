//! Rooms of any size, the same in every run.

#![allow(dead_code, reason = "each bench needs some of it")]

use roomful_state::{Action, Origin, Participant, State, Stream, StreamIds, apply};
use roomful_types::{ParticipantId, StreamId, StreamKey};

fn id(number: usize) -> [u8; 16] {
    // Spread like random ids, and the same in every run.
    let spread = (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    spread.to_be_bytes()
}

pub(crate) fn participant(number: usize) -> Participant {
    Participant {
        id: ParticipantId::from_random(id(number)),
        identity: Some(format!("user-{number}").into()),
        context: None,
        streams: StreamIds::default(),
        can_receive_messages: true,
        origin: Origin::Remote,
    }
}

pub(crate) fn stream(number: usize) -> Stream {
    Stream {
        id: StreamId::from_random(id(number)),
        key: StreamKey::new("camera").expect("short"),
        participant_id: ParticipantId::from_random(id(number)),
        origin: Origin::Remote,
        is_audio_enabled: true,
        is_video_enabled: true,
        is_audio_censored: false,
        is_video_censored: false,
        audio_track: None,
        video_track: None,
        is_configured: false,
    }
}

/// A room in which everybody of this many publishes one stream.
pub(crate) fn everybody(size: usize) -> State {
    joined(size, size)
}

/// Everybody but the last has joined, and everybody but the last two publishes.
pub(crate) fn room(size: usize) -> State {
    joined(size - 1, size - 2)
}

fn joined(participants: usize, streams: usize) -> State {
    let mut state = State::new();
    let mut events = Vec::new();
    apply(&mut state, Action::Connecting, &mut events);
    let joined = Action::Joined {
        local: participant(0).id,
        version: 1,
        participants: (0..participants).map(participant).collect(),
        streams: (0..streams).map(stream).collect(),
    };
    apply(&mut state, joined, &mut events);
    state
}
