//! Where the interface and the original's SDK disagree: section 5 of the contract.

use roomful::{
    DisconnectReason, ErrorKind, EventKind, MediaKind, Status, SubscriptionConfig, TrackUpdate, Tracks,
    TracksUpdate,
};

use super::{
    StageConfig, Venue,
    events::{censor, these},
    stagehand::{
        Call, call, hears_of, join, key, named, names_until, open, options, own_id, read, stands_still,
        subscribe, text, two, wait_for, within,
    },
};

pub(super) async fn r01_disconnected_carries_reason_and_state(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    let mut events = alice.events();
    within(alice.disconnect()).await.expect("leaves");
    let told = named(&mut events, "disconnected").await;
    assert_eq!(told.kind, EventKind::Disconnected { reason: DisconnectReason::UserInitiated });
    assert_eq!((told.state.status(), told.state.participants().len()), (Status::Disconnected, 0));
}

pub(super) async fn r02_disconnecting_is_entered(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    let mut events = alice.events();
    within(alice.disconnect()).await.expect("leaves");
    wait_for(&mut events, |event| (event.state.status() == Status::Disconnecting).then_some(())).await;
}

pub(super) async fn r03_states_are_maps_by_id(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    within(alice.add_stream(&key("camera"), Tracks::default())).await.expect("publishes");
    hears_of(&bob, own_id(&alice), "camera").await;
    let state = bob.state();
    for participant in state.participants() {
        assert!(std::sync::Arc::ptr_eq(participant, state.participant(participant.id).expect("by its id")));
    }
    for stream in state.streams() {
        assert!(std::sync::Arc::ptr_eq(stream, state.stream(stream.id).expect("by its id")));
    }
}

pub(super) async fn r04_a_broadcast_has_no_recipients(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let mut events = bob.events();
    within(alice.send_message(text("hello"), None)).await.expect("is accepted");
    let EventKind::MessageReceived { recipients, .. } = named(&mut events, "message_received").await.kind
    else {
        panic!("named so");
    };
    assert_eq!(recipients, None);
}

pub(super) async fn r05_a_broadcast_comes_back_once(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, _bob) = two(&*stage).await;
    let mut events = alice.events();
    within(alice.send_message(text("one"), None)).await.expect("is accepted");
    within(alice.send_message(text("two"), None)).await.expect("is accepted");
    for expected in ["one", "two"] {
        let EventKind::MessageReceived { sender, message, .. } =
            named(&mut events, "message_received").await.kind
        else {
            panic!("named so");
        };
        assert_eq!((sender, &*message.payload), (own_id(&alice), expected));
    }
}

pub(super) async fn r06_leaving_fires_for_any_leave(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let mut events = bob.events();
    let gone = own_id(&alice);
    within(alice.disconnect()).await.expect("leaves");
    let told = named(&mut events, "participant_leaving").await;
    assert_eq!(told.kind, EventKind::ParticipantLeaving { participant: gone, reason: None });
    assert!(told.state.participant(gone).is_some(), "it is still there");
}

pub(super) async fn r07_subscription_changes_are_in_the_state(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera: _camera, .. } = call(&*stage).await;
    let (publisher, camera) = (own_id(&alice), key("camera"));
    let config = SubscriptionConfig { audio: false, ..SubscriptionConfig::default() };
    within(bob.update_subscription(publisher, &camera, config)).await.expect("updates");
    assert!(!bob.state().subscription(publisher, &camera).expect("there").audio);
    within(bob.remove_subscription(publisher, &camera)).await.expect("ends");
    assert!(bob.state().subscription(publisher, &camera).is_none());
    let error = within(bob.update_subscription(publisher, &camera, config)).await.expect_err("over");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

pub(super) async fn r08_streams_are_there_from_publication_and_tracks_with_the_subscription(
    venue: &dyn Venue,
) {
    let stage = open(venue).await;
    let Call { alice, bob, camera: _camera, .. } = call(&*stage).await;
    let carol = join(&*stage, "carol").await;
    let tracks = |room: &roomful::Room| {
        let stream = room.participant_stream(own_id(&alice), &key("camera")).expect("there");
        (stream.audio_track.is_some(), stream.video_track.is_some(), stream.is_configured)
    };
    assert_eq!(tracks(&carol), (false, false, false));
    assert_eq!(tracks(&bob), (true, true, true));
    subscribe(&carol, &alice, "camera").await;
    assert_eq!(tracks(&carol), (true, true, true));
    within(carol.remove_subscription(own_id(&alice), &key("camera"))).await.expect("ends");
    assert_eq!(tracks(&carol), (false, false, false));
}

pub(super) async fn r09_muting_is_explicit_and_absent_means_keep(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera, mut audio, .. } = call(&*stage).await;
    let mut events = bob.events();
    within(alice.update_stream(&key("camera"), TracksUpdate::default())).await.expect("changes nothing");
    let mute = TracksUpdate { video: TrackUpdate::Mute, ..TracksUpdate::default() };
    within(alice.update_stream(&key("camera"), mute)).await.expect("mutes");
    assert_eq!(names_until(&mut events, "track_disabled").await, ["track_disabled"]);
    let stream = bob.participant_stream(own_id(&alice), &key("camera")).expect("there");
    assert!(stream.is_audio_enabled && !stream.is_video_enabled);
    read(&mut audio, 10).await.iter().for_each(|frame| camera.check(frame));
}

pub(super) async fn r10_video_can_be_censored_too(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, mut audio, video, camera: _camera, .. } = call(&*stage).await;
    let mut events = bob.events();
    censor(&*stage, these(&[&alice]), MediaKind::Video, true).await;
    let told = named(&mut events, "track_censored").await;
    let stream = told.state.participant_stream(own_id(&alice), &key("camera")).expect("there").clone();
    assert!(stream.is_video_censored && !stream.is_audio_censored);
    read(&mut audio, 15).await;
    stands_still(|| video.report().frames_received).await;
}

pub(super) async fn r11_the_size_of_a_room_is_a_setting(venue: &dyn Venue) {
    let stage = venue.open(StageConfig { max_participants: 1, ..StageConfig::default() }).await;
    let _alice = join(&*stage, "alice").await;
    let bob = stage.room(options(&*stage, "bob").await);
    let error = within(bob.connect()).await.expect_err("is full");
    assert_eq!(error.kind(), ErrorKind::LimitReached);
}
