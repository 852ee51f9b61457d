//! What moderators do, through REST.

use roomful::{DisconnectReason, ErrorKind, Event, EventKind, LeaveReason, MediaKind, Room};
use serde_json::{Value, json};

use crate::harness::{
    API_KEY, Player, World, key, meet, names_until, own_id, read, stands_still, subscribe, wait_for, within,
};

impl World {
    async fn session(&self) -> String {
        let (_, body) =
            self.call("GET", &format!("/v2/rooms/{}", self.room), Some(API_KEY), &Value::Null).await;
        body["data"]["active_session_id"].as_str().expect("somebody is in the room").to_owned()
    }

    async fn moderate(&self, action: &str, body: Value) {
        let path = format!("/v2/room_sessions/{}/actions/{action}", self.session().await);
        let (status, body) = self.post(&path, &body).await;
        assert_eq!(status, 200, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_kicked_hears_it_first_and_does_not_get_back() {
    let world = World::start().await;
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    meet(&[&alice, &bob]).await;
    let mut events = [alice.events(), bob.events()];
    let kicked = own_id(&bob);
    world.moderate("kick", json!({"participants": [kicked.to_string()]})).await;
    let names = names_until(&mut events[1], "disconnected").await;
    assert_eq!(names, ["participant_leaving", "disconnected"]);
    assert_eq!(bob.state().disconnect_reason(), Some(DisconnectReason::Kicked));
    let reason = wait_for(&mut events[0], |event| {
        let EventKind::ParticipantLeaving { participant, reason } = event.kind else { return None };
        (participant == kicked).then_some(reason)
    })
    .await;
    assert_eq!(reason, Some(LeaveReason::Kicked));
    let error = within(bob.connect()).await.expect_err("the grant is barred");
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    let again = world.client("bob").await;
    let error = within(again.connect()).await.expect_err("the identity is barred");
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert_eq!(again.state().disconnect_reason(), Some(DisconnectReason::Kicked));
}

#[tokio::test(flavor = "multi_thread")]
async fn censored_media_reaches_nobody_although_the_client_goes_on_sending() {
    let world = World::start_behind(|_, _: &[u8]| crate::harness::proxy::Fate::Pass).await;
    let (alice, bob) = (world.join("alice").await, world.join("bob").await);
    let camera = key("camera");
    let player = Player::start("camera-90.ivf", "voice-a.ogg");
    within(alice.add_stream(&camera, player.tracks.clone())).await.expect("publishes");
    let (mut audio, mut video) = subscribe(&bob, &alice, &camera).await;
    tokio::join!(read(&mut audio, 5), read(&mut video, 5));
    let mut events = bob.events();
    world.moderate("mute", json!({"participants": "all", "kind": "video"})).await;
    let (kind, state) = wait_for(&mut events, |event: &Event| {
        let EventKind::TrackCensored { kind, .. } = event.kind else { return None };
        Some((kind, event.state.clone()))
    })
    .await;
    assert_eq!(kind, MediaKind::Video);
    let stream = state.participant_stream(own_id(&alice), &camera).expect("still there").clone();
    assert!(stream.is_video_censored && stream.is_video_enabled && !stream.is_audio_censored);
    let proxy = world.proxy.as_ref().expect("asked for");
    let to_client = || proxy.passed(crate::harness::proxy::Way::ToClient).1;
    stands_still(to_client).await;
    read(&mut audio, 20).await;
    // Who comes later knows.
    let carol = world.join("carol").await;
    let seen = carol.participant_stream(own_id(&alice), &camera).expect("in the first state");
    assert!(seen.is_video_censored);
    let session = world.session().await;
    let path =
        format!("/v2/room_sessions/{session}/participants/{}/streams/camera/actions/unmute", own_id(&alice));
    let (status, body) = world.post(&path, &json!({"kind": "video"})).await;
    assert_eq!(status, 200, "{body}");
    names_until(&mut events, "track_uncensored").await;
    while within(video.recv()).await.is_some_and(|frame| !frame.is_keyframe) {}
    read(&mut video, 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_can_be_ended_for_everybody() {
    let world = World::start().await;
    let rooms: [Room; 2] = [world.join("alice").await, world.join("bob").await];
    meet(&rooms.each_ref()).await;
    let mut events = rooms.each_ref().map(Room::events);
    world.moderate("end", Value::Null).await;
    for events in &mut events {
        assert_eq!(names_until(events, "disconnected").await, ["disconnected"]);
    }
    assert_eq!(rooms[0].state().disconnect_reason(), Some(DisconnectReason::SessionEnded));
    within(rooms[0].connect()).await.expect("the room is still there");
}
