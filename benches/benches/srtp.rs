//! Sealing and opening RTP packets, beside what the cipher alone takes.

#![allow(missing_docs, reason = "criterion's macros make undocumented items")]

use std::hint::black_box;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use roomful_srtp::{KeyingMaterial, MasterKey, Opener, Profile, Sealer};

const SSRC: u32 = 0x2a;
const HEADER: usize = 12;

fn keys(profile: Profile) -> MasterKey {
    KeyingMaterial::split(profile, &vec![7; profile.keying_material_bytes()]).expect("of its length").server
}

/// A packet of this many bytes of payload, with room for a tag.
fn packet(index: u64, payload: usize) -> Vec<u8> {
    let mut packet = vec![0; HEADER + payload + 16];
    packet[..2].copy_from_slice(&[0x80, 96]);
    packet[2..4].copy_from_slice(&(index as u16).to_be_bytes());
    packet[8..12].copy_from_slice(&SSRC.to_be_bytes());
    packet
}

fn srtp(criterion: &mut Criterion) {
    for payload in [80, 1200] {
        let length = HEADER + payload;
        let mut group = criterion.benchmark_group("srtp");
        group.throughput(Throughput::Elements(1));

        let floor = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).expect("of its length"));
        let mut buffer = packet(0, payload);
        group.bench_function(BenchmarkId::new("floor-aes-256-gcm", payload), |bencher| {
            bencher.iter(|| {
                let (header, rest) = buffer.split_at_mut(HEADER);
                let (body, _) = rest.split_at_mut(payload);
                let nonce = Nonce::assume_unique_for_key([3; 12]);
                floor.seal_in_place_separate_tag(nonce, Aad::from(header), black_box(body))
            });
        });
        for (profile, name) in [
            (Profile::AeadAes256Gcm, "aes-256-gcm"),
            (Profile::AeadAes128Gcm, "aes-128-gcm"),
            (Profile::Aes128CmSha1_80, "aes-128-cm-sha1"),
        ] {
            let mut sealer = Sealer::new(keys(profile));
            let stream = sealer.add_stream(SSRC).expect("the first");
            let (mut buffer, mut index) = (packet(0, payload), 0_u64);
            group.bench_function(BenchmarkId::new(format!("seal-{name}"), payload), |bencher| {
                bencher.iter(|| {
                    index += 1;
                    buffer[2..4].copy_from_slice(&(index as u16).to_be_bytes());
                    sealer.seal_rtp(stream, index, black_box(&mut buffer), length)
                });
            });
            let mut sealer = Sealer::new(keys(profile));
            let stream = sealer.add_stream(SSRC).expect("the first");
            let (mut opener, mut index) = (Opener::new(&keys(profile)), 0_u64);
            group.bench_function(BenchmarkId::new(format!("open-{name}"), payload), |bencher| {
                let sealed = || {
                    index += 1;
                    let mut packet = packet(index, payload);
                    let end = sealer.seal_rtp(stream, index, &mut packet, length).expect("a new number");
                    packet.truncate(end);
                    packet
                };
                bencher.iter_batched_ref(
                    sealed,
                    |packet| opener.open_rtp(packet).expect("authentic and new"),
                    BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}

criterion_group!(benches, srtp);
criterion_main!(benches);
