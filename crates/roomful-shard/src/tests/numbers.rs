//! No number is sealed twice under one key, whatever becomes of sources, slots and the path.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Bind {
        slot: usize,
        source: usize,
        layer: Rid,
    },
    Unbind {
        slot: usize,
    },
    SetLayer {
        slot: usize,
        layer: Rid,
    },
    /// Publishes anew: timestamps go on, and everybody loses it.
    Publish {
        source: usize,
    },
    Remove {
        source: usize,
    },
    Enable {
        source: usize,
        enabled: bool,
    },
    Play {
        frames: usize,
    },
    /// Loses every other packet to the subscriber, or none.
    Lose(bool),
    /// Nothing can leave, or it can again.
    Block(bool),
    /// Looks for another path, from another address.
    Restart {
        port: u16,
    },
}

const PUBLISHERS: usize = 2;
const SUBSCRIBER: usize = PUBLISHERS;
const SLOTS: usize = 2;

fn source(index: usize) -> SourceId {
    SourceId { stream: StreamId::from_random([index as u8 + 1; 16]), kind: MediaKind::Video }
}

fn step() -> impl Strategy<Value = Step> {
    let (slot, source) = (0..SLOTS, 0..PUBLISHERS);
    let layer = prop::sample::select(Rid::ALL.to_vec());
    prop_oneof![
        8 => (1..8_usize).prop_map(|frames| Step::Play { frames }),
        4 => (slot.clone(), source.clone(), layer.clone())
            .prop_map(|(slot, source, layer)| Step::Bind { slot, source, layer }),
        2 => (slot.clone(), layer).prop_map(|(slot, layer)| Step::SetLayer { slot, layer }),
        1 => slot.prop_map(|slot| Step::Unbind { slot }),
        1 => source.clone().prop_map(|source| Step::Publish { source }),
        1 => source.clone().prop_map(|source| Step::Remove { source }),
        2 => (source, any::<bool>()).prop_map(|(source, enabled)| Step::Enable { source, enabled }),
        2 => any::<bool>().prop_map(Step::Lose),
        1 => any::<bool>().prop_map(Step::Block),
        1 => (7000..7100_u16).prop_map(|port| Step::Restart { port }),
    ]
}

/// Two publishers with three encodings each, and whoever has two slots for them.
fn scene() -> Scene {
    let mut scene = Scene::connected(PUBLISHERS + 1, SLOTS);
    (0..PUBLISHERS).for_each(|index| scene.publish(index, source(index), true));
    scene
}

fn take(scene: &mut Scene, step: Step) {
    let peer = participant(SUBSCRIBER);
    let mid = |slot: usize| scene.clients[SUBSCRIBER].offer.slots[slot].1;
    match step {
        Step::Bind { slot, source: index, layer } => {
            let (mid, source) = (mid(slot), source(index));
            scene.command(MediaCommand::Bind { peer, mid, source, layer });
        }
        Step::Unbind { slot } => {
            let mid = mid(slot);
            scene.command(MediaCommand::Unbind { peer, mid });
        }
        Step::SetLayer { slot, layer } => {
            let mid = mid(slot);
            scene.command(MediaCommand::SetLayer { peer, mid, layer });
        }
        Step::Publish { source: index } => {
            scene.command(MediaCommand::RemoveSource { source: source(index) });
            scene.publish(index, source(index), true);
        }
        Step::Remove { source: index } => {
            scene.command(MediaCommand::RemoveSource { source: source(index) });
        }
        Step::Enable { source: index, enabled } => {
            scene.command(MediaCommand::EnableSource { source: source(index), enabled });
        }
        Step::Play { frames } => {
            scene.play(frames);
        }
        Step::Lose(is_losing) => scene.is_losing = is_losing,
        Step::Block(is_blocked) => scene.shard.set_blocked(is_blocked),
        Step::Restart { port } => {
            let client = &mut scene.clients[SUBSCRIBER];
            client.outside = outside(port);
            let offer = client.peer.create_offer(0, 1, SLOTS, true).expect("a restart");
            let answer = scene.answer(SUBSCRIBER, &offer);
            scene.clients[SUBSCRIBER].peer.accept_answer(&answer).expect("a good answer");
        }
    }
}

/// What goes into the nonce of a packet beside the key, as anybody on the wire sees it: SSRC, number, and whether it is RTCP. Streams begin
/// below 2^15, and so few packets are sent that none wraps.
fn nonce(bytes: &[u8]) -> (u32, u32, bool) {
    let word = |place: usize| u32::from_be_bytes(bytes[place..place + 4].try_into().expect("four bytes"));
    match is_media(bytes) {
        true => (word(8), word(0) & 0xffff, false),
        // RFC 3711 §3.4: the index stands at the end, behind a flag.
        false => (word(4), word(bytes.len() - 4) & 0x7fff_ffff, true),
    }
}

/// Returns whether a packet is one of a video, and no repair, by its payload type in the subscriber's description.
fn is_video(scene: &Scene, bytes: &[u8]) -> bool {
    let mut lines = scene.clients[SUBSCRIBER].offer.sdp.lines();
    let payload_type = lines.find_map(|line| line.strip_prefix("a=rtpmap:")?.strip_suffix(" VP8/90000"));
    let payload_type: u8 = payload_type.expect("it takes VP8").parse().expect("a number");
    is_media(bytes) && bytes[1] & 0x7f == payload_type
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_number_is_sealed_twice(steps in prop::collection::vec(step(), 0..60)) {
        let mut scene = scene();
        let begin = [
            Step::Bind { slot: 0, source: 0, layer: Rid::High },
            Step::Bind { slot: 1, source: 1, layer: Rid::Low },
            Step::Play { frames: 6 },
        ];
        begin.into_iter().chain(steps).for_each(|step| take(&mut scene, step));
        let mut nonces = HashSet::new();
        for (client, bytes) in &scene.sent {
            prop_assert!(nonces.insert((*client, nonce(bytes))), "{:?} to client {client} twice", nonce(bytes));
        }
        // Nor did the sealer have to refuse one: what was handed on has left.
        take(&mut scene, Step::Block(false));
        scene.pass(Duration::from_millis(50));
        let left = scene.sent.iter().filter(|(_, bytes)| is_video(&scene, bytes)).count();
        prop_assert_eq!(left as u64, scene.shard.stats().packets_forwarded);
        prop_assert!(left >= 8, "something was sent");
    }
}

#[test]
fn histories_of_numbers_have_repairs_in_them() {
    let mut scene = scene();
    take(&mut scene, Step::Bind { slot: 0, source: 0, layer: Rid::High });
    take(&mut scene, Step::Play { frames: 10 });
    let ssrcs = |scene: &Scene| {
        let media = scene.sent.iter().filter(|(client, bytes)| *client == SUBSCRIBER && is_media(bytes));
        media.map(|(_, bytes)| nonce(bytes).0).collect::<HashSet<_>>().len()
    };
    assert_eq!(ssrcs(&scene), 1, "one slot");
    take(&mut scene, Step::Lose(true));
    take(&mut scene, Step::Restart { port: 7000 });
    take(&mut scene, Step::Play { frames: 20 });
    assert_eq!(ssrcs(&scene), 2, "and its repairs");
}
