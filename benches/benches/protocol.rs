//! Signalling messages to bytes and back, in both encodings.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use roomful_protocol::{
    Encoding, JoinResponse, ParticipantInfo, RequestId, ResumeKey, RoomVersion, ServerMessage, StreamInfo,
    StreamPublishedNotice, TokenTerm, TrackInfo, WIRE_VERSION,
};
use roomful_types::{Codec, ParticipantId, StreamId, StreamKey};

fn id(number: usize) -> [u8; 16] {
    (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes()
}

fn stream(number: usize) -> StreamInfo {
    let track = |codec| Some(TrackInfo { codec, enabled: true, censored: false });
    StreamInfo {
        id: StreamId::from_random(id(number)),
        participant_id: ParticipantId::from_random(id(number)),
        key: StreamKey::new("self").expect("short"),
        audio: track(Codec::Opus),
        video: track(Codec::Vp8),
    }
}

fn notice() -> ServerMessage {
    StreamPublishedNotice { version: RoomVersion(1234), stream: stream(7) }.into()
}

/// A room of a thousand, each with a name and a stream.
fn snapshot() -> ServerMessage {
    let participant = |number: usize| ParticipantInfo {
        id: ParticipantId::from_random(id(number)),
        identity: Some(format!("user-{number}").into()),
        context: None,
        can_receive_messages: true,
        telephone: false,
    };
    JoinResponse {
        request: RequestId(1),
        wire_version: WIRE_VERSION,
        participant_id: ParticipantId::from_random(id(0)),
        version: RoomVersion(2000),
        participants: (0..1000).map(participant).collect(),
        streams: (0..1000).map(stream).collect(),
        term: TokenTerm { remaining_ms: 600_000, life_ms: 600_000 },
        resume_key: ResumeKey::from_random(id(1)),
        resume_window_ms: 30_000,
    }
    .into()
}

fn protocol(criterion: &mut Criterion) {
    for (name, message) in [("notice", notice()), ("snapshot", snapshot())] {
        for (encoding, label) in [(Encoding::Binary, "binary"), (Encoding::Json, "json")] {
            let bytes = encoding.encode(&message);
            let mut group = criterion.benchmark_group("protocol");
            group.throughput(Throughput::Bytes(bytes.len() as u64));
            group.bench_with_input(
                BenchmarkId::new(format!("encode-{label}"), name),
                &message,
                |bencher, message| {
                    let mut buffer = Vec::new();
                    bencher.iter(|| {
                        buffer.clear();
                        encoding.encode_into(black_box(message), &mut buffer);
                        black_box(buffer.len())
                    });
                },
            );
            group.bench_with_input(
                BenchmarkId::new(format!("decode-{label}"), name),
                &bytes,
                |bencher, bytes| bencher.iter(|| encoding.decode::<ServerMessage>(black_box(bytes))),
            );
            group.finish();
        }
    }
}

criterion_group!(benches, protocol);
criterion_main!(benches);
