//! Another implementation, on other cryptography, agrees with ours in both directions.

use proptest::{prelude::*, sample::select};
use webrtc_srtp::{context::Context, protection_profile::ProtectionProfile};

use super::{rtcp, rtp};
use crate::{KeyingMaterial, Opener, Profile, Sealer};

/// Makes the other's context for what a server sends.
fn theirs(profile: Profile, exported: &[u8]) -> Context {
    let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
    let (keys, salts) = exported.split_at(2 * key);
    let name = match profile {
        Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::Aes128CmSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    Context::new(&keys[key..], &salts[salt..], name, None, None).expect("of its lengths")
}

proptest! {
    #[test]
    fn what_one_seals_the_other_opens(
        profile in select(Profile::ALL.as_slice()),
        seed in any::<u8>(),
        ssrc in any::<u32>(),
        start in 0..1_u16 << 15,
        packets in prop::collection::vec((1..20_000_u64, prop::collection::vec(any::<u8>(), 1..80)), 1..20),
    ) {
        let exported: Vec<u8> = (0..profile.keying_material_bytes()).map(|at| seed ^ (at * 11) as u8).collect();
        let ours = KeyingMaterial::split(profile, &exported).expect("of its length").server;
        let mut opener = Opener::new(&ours);
        let mut sealer = Sealer::new(ours);
        let (mut their_sealer, mut their_opener) = (theirs(profile, &exported), theirs(profile, &exported));
        let stream = sealer.add_stream(ssrc).expect("the first");
        let mut index = u64::from(start);
        for (step, payload) in packets {
            let plain = rtp(ssrc, index as u16, &payload);
            let mut packet = plain.clone();
            packet.resize(plain.len() + profile.rtp_overhead(), 0);
            sealer.seal_rtp(stream, index, &mut packet, plain.len()).expect("new");
            let sealed = their_sealer.encrypt_rtp(&plain).expect("a packet");
            prop_assert_eq!(&packet[..], &sealed[..]);
            prop_assert_eq!(&their_opener.decrypt_rtp(&packet).expect("authentic")[..], &plain[..]);
            let opened = opener.open_rtp(&mut packet).expect("authentic");
            prop_assert_eq!((opened.index, &packet[..opened.length]), (index, &plain[..]));

            let plain = rtcp(ssrc, &payload[..payload.len() / 4 * 4]);
            let mut packet = plain.clone();
            packet.resize(plain.len() + profile.rtcp_overhead(), 0);
            sealer.seal_rtcp(&mut packet, plain.len()).expect("there is room");
            prop_assert_eq!(&their_opener.decrypt_rtcp(&packet).expect("authentic")[..], &plain[..]);
            let mut sealed = their_sealer.encrypt_rtcp(&plain).expect("a packet").to_vec();
            let length = opener.open_rtcp(&mut sealed).expect("authentic");
            prop_assert_eq!(&sealed[..length], &plain[..]);
            index += step;
        }
    }
}
