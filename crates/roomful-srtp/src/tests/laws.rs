//! What holds for any packets in any order.

use std::collections::BTreeSet;

use proptest::{prelude::*, sample::select};

use super::{keys, rtcp, rtp};
use crate::{KeyingMaterial, MasterKey, OpenError, Opener, Profile, SealError, Sealer, WrongLength};

fn profile() -> impl Strategy<Value = Profile> {
    select(Profile::ALL.as_slice())
}

/// Seals a packet of stream 0, whose source is 7.
fn sealed(sealer: &mut Sealer, profile: Profile, index: u64, payload: &[u8]) -> Result<Vec<u8>, SealError> {
    let stream = sealer.add_stream(7).unwrap_or(crate::sealer::FIRST);
    let mut packet = rtp(7, index as u16, payload);
    let length = packet.len();
    packet.resize(length + profile.rtp_overhead(), 0);
    let end = sealer.seal_rtp(stream, index, &mut packet, length)?;
    assert_eq!(end, packet.len());
    Ok(packet)
}

#[test]
fn lengths_are_those_of_the_profile() {
    for profile in Profile::ALL {
        let wanted = profile.keying_material_bytes();
        let refused = KeyingMaterial::split(profile, &vec![0; wanted - 1]).map(drop);
        assert_eq!(refused, Err(WrongLength { seen: wanted - 1, wanted }));
        let salt = vec![0; profile.salt_bytes() + 1];
        assert!(MasterKey::new(profile, &vec![0; profile.key_bytes()], &salt).is_err());
        assert!(!format!("{:?}", keys(profile, 0x5a)).contains("90"), "keys are not printed");
    }
}

#[test]
fn a_source_has_one_stream_and_a_stream_its_own_source() {
    let mut sealer = Sealer::new(keys(Profile::AeadAes128Gcm, 1));
    let stream = sealer.add_stream(7).expect("the first");
    assert_eq!(sealer.add_stream(7), Err(SealError::KnownSource(7)));
    let mut packet = rtp(8, 1, b"payload");
    let length = packet.len();
    packet.resize(length + 16, 0);
    assert_eq!(sealer.seal_rtp(stream, 1, &mut packet, length), Err(SealError::Malformed));
    let mut packet = rtp(7, 1, b"payload");
    assert_eq!(sealer.seal_rtp(stream, 1, &mut packet, length), Err(SealError::Malformed), "no room");
    packet.resize(length + 16, 0);
    assert_eq!(sealer.seal_rtp(stream, 2, &mut packet, length), Err(SealError::Malformed), "other number");
    assert_eq!(sealer.seal_rtp(stream, 1 << 48, &mut packet, length), Err(SealError::Malformed));
    assert_eq!(sealer.seal_rtp(stream, (1 << 48) + 1, &mut packet, length), Err(SealError::Exhausted));
    assert_eq!(sealer.seal_rtp(stream, 1, &mut packet, length), Ok(length + 16));
}

#[test]
fn sources_are_bounded_and_only_authentic_ones_count() {
    let profile = Profile::AeadAes128Gcm;
    let (mut sealer, mut opener) = (Sealer::new(keys(profile, 1)), Opener::new(&keys(profile, 1)));
    let mut stranger = Sealer::new(keys(profile, 2));
    let mut send = |sealer: &mut Sealer, ssrc| {
        let stream = sealer.add_stream(ssrc).expect("new");
        let mut packet = rtp(ssrc, 1, b"payload");
        let length = packet.len();
        packet.resize(length + profile.rtp_overhead(), 0);
        sealer.seal_rtp(stream, 1, &mut packet, length).expect("new");
        opener.open_rtp(&mut packet).map(drop)
    };
    assert!((0..5000).all(|ssrc| send(&mut stranger, ssrc) == Err(OpenError::Forged)));
    assert!((0..4096).all(|ssrc| send(&mut sealer, ssrc) == Ok(())));
    assert_eq!(send(&mut sealer, 4096), Err(OpenError::TooManySources));
}

proptest! {
    #[test]
    fn what_is_sealed_is_opened_once(
        profile in profile(),
        first in 0..1_u64 << 15,
        steps in prop::collection::vec((1..30_000_u64, prop::collection::vec(any::<u8>(), 0..60)), 1..40),
    ) {
        let master = keys(profile, 3);
        let mut opener = Opener::new(&master);
        let mut sealer = Sealer::new(master);
        let mut index = first;
        for (step, payload) in steps {
            let packet = sealed(&mut sealer, profile, index, &payload).expect("new");
            let mut arrived = packet.clone();
            let opened = opener.open_rtp(&mut arrived).expect("authentic and new");
            prop_assert_eq!((opened.ssrc, opened.index), (7, index));
            prop_assert_eq!(&arrived[opened.payload()], &payload[..]);
            prop_assert_eq!(opener.open_rtp(&mut packet.clone()), Err(OpenError::Replayed));
            index += step;
        }
    }

    #[test]
    fn no_number_is_sealed_twice_over_any_history(indices in prop::collection::vec(0..3000_u64, 1..400)) {
        let profile = Profile::AeadAes128Gcm;
        let mut sealer = Sealer::new(keys(profile, 4));
        let mut used = BTreeSet::new();
        for index in indices {
            match sealed(&mut sealer, profile, index, b"payload") {
                Ok(_) => prop_assert!(used.insert(index), "{} was sealed twice", index),
                Err(error) => {
                    prop_assert_eq!(error, SealError::Reused(index));
                    let newest = used.last().copied().unwrap_or_default();
                    prop_assert!(used.contains(&index) || newest - index >= 1024);
                }
            }
        }
    }

    #[test]
    fn numbers_come_in_any_order_over_every_wrap(
        start in 0..1_u64 << 15,
        offsets in prop::collection::vec(0..500_u64, 1..100),
        wraps in 0..3_u64,
    ) {
        let profile = Profile::AeadAes256Gcm;
        let master = keys(profile, 5);
        let mut opener = Opener::new(&master);
        let mut sealer = Sealer::new(master);
        // A receiver follows steps of less than half a wrap.
        let mut base = start;
        for index in (0..=wraps * 3).map(|step| start + step * 22_000) {
            let mut packet = sealed(&mut sealer, profile, index, b"step").expect("new");
            prop_assert_eq!(opener.open_rtp(&mut packet).expect("new").index, index);
            base = index;
        }
        let mut seen = BTreeSet::from([base]);
        for offset in offsets {
            let index = base + offset;
            if !seen.insert(index) {
                continue;
            }
            let mut packet = sealed(&mut sealer, profile, index, b"late or not").expect("new");
            prop_assert_eq!(opener.open_rtp(&mut packet).expect("new").index, index);
        }
    }

    #[test]
    fn a_changed_packet_is_refused_and_costs_the_right_one_nothing(
        profile in profile(),
        payload in prop::collection::vec(any::<u8>(), 0..60),
        place in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let master = keys(profile, 6);
        let mut opener = Opener::new(&master);
        let mut sealer = Sealer::new(master);
        let packet = sealed(&mut sealer, profile, 9, &payload).expect("new");
        let mut changed = packet.clone();
        let place = place.index(changed.len());
        changed[place] ^= flip;
        prop_assert!(opener.open_rtp(&mut changed).is_err());
        let mut packet = packet;
        prop_assert!(opener.open_rtp(&mut packet).is_ok());

        let mut report = rtcp(7, &payload);
        let length = report.len();
        report.resize(length + profile.rtcp_overhead(), 0);
        sealer.seal_rtcp(&mut report, length).expect("there is room");
        let mut changed = report.clone();
        let place = place % changed.len();
        changed[place] ^= flip;
        prop_assert!(opener.open_rtcp(&mut changed).is_err());
        prop_assert_eq!(opener.open_rtcp(&mut report.clone()), Ok(length));
        prop_assert_eq!(opener.open_rtcp(&mut report), Err(OpenError::Replayed));
    }

    #[test]
    fn nothing_that_arrives_panics(profile in profile(), bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let master = keys(profile, 7);
        let mut opener = Opener::new(&master);
        let mut sealer = Sealer::new(master);
        prop_assert!(opener.open_rtp(&mut bytes.clone()).is_err());
        prop_assert!(opener.open_rtcp(&mut bytes.clone()).is_err());
        let length = bytes.len() / 2;
        let mut bytes = bytes;
        let _ = sealer.seal_rtcp(&mut bytes, length);
    }
}
