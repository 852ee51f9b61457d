//! What a publisher is told, and what it offers.

use std::time::Duration;

use roomful::{Codec, LocalTrack, SubscriptionConfig, TrackRequest, TrackWriter, Tracks};
use roomful_protocol::{OfferResponse, RequestId, ServerMessage};

use crate::harness::{
    World, fixture, hears_of, key, own_id, player::sent, raw::RawClient, tap::SignalTap, within,
};

/// Waits for a request, leaving out those that are not asked about.
async fn next_of(writer: &mut TrackWriter, wanted: &[TrackRequest]) -> TrackRequest {
    within(async {
        loop {
            let request = writer.request().await;
            if wanted.contains(&request) {
                return request;
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_is_told_who_wants_what_of_it() {
    let world = World::start().await;
    let (alice, bob, carol) = (world.join("alice").await, world.join("bob").await, world.join("carol").await);
    let camera = key("camera");
    let (track, mut writer) = LocalTrack::new(Codec::Vp8);
    within(alice.add_stream(&camera, Tracks { audio: None, video: Some(track) })).await.expect("publishes");
    // A track begins paused: nobody takes it.
    let pauses = [TrackRequest::Paused, TrackRequest::Resumed];
    let config = SubscriptionConfig { audio: false, video: true, ..SubscriptionConfig::default() };
    for (viewer, is_first) in [(&bob, true), (&carol, false)] {
        hears_of(viewer, own_id(&alice), &camera).await;
        let tracks =
            within(viewer.add_subscription(own_id(&alice), &camera, config)).await.expect("subscribes");
        let mut video = tracks.video.expect("asked for");
        if is_first {
            assert_eq!(next_of(&mut writer, &pauses).await, TrackRequest::Resumed, "somebody takes it");
        }
        // A key frame is asked for, for each who is new, until it comes.
        assert_eq!(next_of(&mut writer, &[TrackRequest::Keyframe]).await, TrackRequest::Keyframe);
        let clip = fixture("camera-90.ivf");
        let frame = &clip.frames()[0];
        within(writer.write(sent(frame.clone()))).await;
        assert_eq!(within(video.recv()).await.expect("is subscribed").data, frame.data);
    }
    for viewer in [&bob, &carol] {
        within(viewer.remove_subscription(own_id(&alice), &camera)).await.expect("unsubscribes");
    }
    assert_eq!(next_of(&mut writer, &pauses).await, TrackRequest::Paused, "nobody takes it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_is_told_how_much_it_may_send() {
    let world = World::start().await;
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    let (track, mut writer) = LocalTrack::new(Codec::Vp8);
    let camera = key("camera");
    within(alice.add_stream(&camera, Tracks { audio: None, video: Some(track) })).await.expect("publishes");
    let config = SubscriptionConfig { audio: false, video: true, ..SubscriptionConfig::default() };
    hears_of(&bob, own_id(&alice), &camera).await;
    let _tracks = within(bob.add_subscription(own_id(&alice), &camera, config)).await.expect("subscribes");
    let clip = fixture("camera-360.ivf");
    let target = within(async {
        let mut frames = clip.frames().iter();
        let mut pace = tokio::time::interval(Duration::from_millis(33));
        loop {
            tokio::select! {
                request = writer.request() => if let TrackRequest::TargetBitrate(target) = request {
                    return target;
                },
                _ = pace.tick() => {
                    let frame = frames.next().expect("ten seconds are enough");
                    writer.write(sent(frame.clone())).await;
                }
            }
        }
    })
    .await;
    assert!((50_000..=2_500_000).contains(&target.as_bps()), "{target}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_offer_again_gets_the_same_answer() {
    let world = World::start().await;
    let tap = SignalTap::start(&world, Duration::ZERO).await;
    let alice = world.join_with("alice", |options| options.server_url = tap.url()).await;
    within(alice.add_stream(&key("camera"), Tracks::default())).await.expect("publishes");
    let offer = tap.last_offer().expect("joining negotiates");

    let (mut raw, _) = RawClient::join(&world, "mallory").await;
    let mut answers = Vec::new();
    // The second comes while the first is being answered, the third afterwards.
    for request in [2, 3] {
        let mut again = offer.clone();
        again.request = RequestId(request);
        raw.say(again).await;
    }
    for request in [2, 3, 4] {
        if request == 4 {
            let mut again = offer.clone();
            again.request = RequestId(request);
            raw.say(again).await;
        }
        let answer = raw.hear_answer().await;
        let Some(ServerMessage::OfferResponse(OfferResponse { request: to, offer: id, sdp })) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!((to, id), (RequestId(request), offer.offer));
        answers.push(sdp);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    assert!(answers[0].contains("a=ice-lite"));
}
