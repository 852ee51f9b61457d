//! Frames to packets and back.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::{hint::black_box, sync::Arc, time::Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use roomful_rtp::{AssemblerConfig, FrameAssembler, Packet, Packetizer, Payloads};
use roomful_types::Codec;

const MAX_PAYLOAD: usize = 1188;

/// A frame of about this many bytes, with the headers that its codec demands.
fn frame(codec: Codec, size: usize, is_keyframe: bool) -> Vec<u8> {
    let mut frame = match (codec, is_keyframe) {
        (Codec::Vp8, true) => vec![0x10, 0, 0, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1],
        (Codec::Vp8, false) => vec![0x11, 0, 0],
        (Codec::H264, true) => {
            [&b"\0\0\0\x01\x67\x42\xe0\x1f"[..], b"\0\0\0\x01\x68\xce", b"\0\0\0\x01\x65\x88"].concat()
        }
        (Codec::H264, false) => b"\0\0\0\x01\x41\x9a".to_vec(),
        (Codec::Opus, _) => vec![0xf8],
    };
    // No zero byte, so nothing looks like a start code.
    frame.extend((frame.len()..size).map(|index| (index % 255) as u8 + 1));
    frame
}

fn packetize(criterion: &mut Criterion) {
    for (name, codec, size, is_keyframe) in [
        ("vp8/360p-key", Codec::Vp8, 25_000, true),
        ("vp8/360p-delta", Codec::Vp8, 2_500, false),
        ("vp8/720p-delta", Codec::Vp8, 10_400, false),
        ("h264/360p-key", Codec::H264, 25_000, true),
        ("h264/720p-delta", Codec::H264, 10_400, false),
        ("opus/20ms", Codec::Opus, 80, true),
    ] {
        let frame = frame(codec, size, is_keyframe);
        let mut packetizer = Packetizer::new(codec, MAX_PAYLOAD);
        let mut payloads = Payloads::new();
        packetizer.packetize(&frame, &mut payloads).expect("a frame of this codec");

        let mut group = criterion.benchmark_group("packetize");
        group.throughput(Throughput::Elements(payloads.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &frame, |bencher, frame| {
            bencher.iter(|| packetizer.packetize(black_box(frame), &mut payloads));
        });
        group.finish();

        if is_keyframe {
            assemble(criterion, name, codec, &payloads);
        }
    }
}

fn assemble(criterion: &mut Criterion, name: &str, codec: Codec, payloads: &Payloads) {
    let now = Instant::now();
    let last = payloads.len() as u64 - 1;
    let packet = |(sequence, payload): (u64, &[u8])| Packet {
        sequence,
        timestamp: 0,
        marker: sequence == last,
        payload: Arc::from(payload),
        audio_level: None,
    };
    let packets: Vec<Packet> = (0..).zip(payloads.iter()).map(packet).collect();
    let mut group = criterion.benchmark_group("assemble");
    group.throughput(Throughput::Elements(last + 1));
    group.bench_with_input(BenchmarkId::from_parameter(name), &packets, |bencher, packets| {
        let setup = || (FrameAssembler::new(codec, AssemblerConfig::for_codec(codec)), packets.clone());
        bencher.iter_batched(
            setup,
            |(mut assembler, packets)| {
                for packet in packets {
                    assembler.push(packet, now);
                }
                black_box(assembler.poll(now))
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, packetize);
criterion_main!(benches);
