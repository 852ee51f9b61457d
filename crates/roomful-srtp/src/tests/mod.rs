//! The RFCs' vectors, laws, and another implementation beside ours.

mod differential;
mod laws;
mod vectors;

use crate::{KeyingMaterial, MasterKey, Profile};

/// Returns the keys of one direction, the same for the same seed.
fn keys(profile: Profile, seed: u8) -> MasterKey {
    let exported: Vec<u8> = (0..profile.keying_material_bytes()).map(|at| seed ^ (at * 7) as u8).collect();
    KeyingMaterial::split(profile, &exported).expect("as many bytes as it says").server
}

/// Makes an RTP packet.
fn rtp(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 1, 0]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// Makes an RTCP packet: a receiver report without blocks, and whatever follows.
fn rtcp(ssrc: u32, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet.extend(rest);
    packet
}
