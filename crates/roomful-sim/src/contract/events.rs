//! Rows V01 to V18, the events beyond the interface, and the order of all of them.

#![expect(clippy::wildcard_enum_match_arm, reason = "a scenario that says what it waits for says enough")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use roomful::{
    Connection, DisconnectReason, EventKind, EventName, LeaveReason, MediaKind, NetworkMetricsOptions,
    Quality, Rid, Room, SubscriptionConfig, TrackUpdate, Tracks, TracksUpdate, VideoTrackOptions,
};
use roomful_sfu::{ModerationRequest, Selection};
use tokio::time::sleep;

use super::{
    Stage, Venue,
    stagehand::{
        Call, Camera, call, eventually, hears_of, join, join_fragile, key, meet, named, names_until, open,
        options, own_id, read, subscribe, subscribe_with, text, two, wait_for, within,
    },
};
use crate::TokenRequest;

pub(super) fn these(rooms: &[&Room]) -> Selection {
    Selection::These(rooms.iter().map(|room| own_id(room)).collect())
}

pub(super) async fn censor(stage: &dyn Stage, who: Selection, kind: MediaKind, censored: bool) {
    within(stage.moderate(ModerationRequest::Censor { who, stream: None, kind, censored })).await;
}

async fn mute(room: &Room, kind: MediaKind) {
    let mut update = TracksUpdate::default();
    match kind {
        MediaKind::Audio => update.audio = TrackUpdate::Mute,
        MediaKind::Video => update.video = TrackUpdate::Mute,
    }
    within(room.update_stream(&key("camera"), update)).await.expect("mutes");
}

async fn unmute(room: &Room, camera: &Camera, kind: MediaKind) {
    let mut update = TracksUpdate::default();
    let tracks = camera.tracks.clone();
    match kind {
        MediaKind::Audio => update.audio = TrackUpdate::Replace(tracks.audio.expect("made with one")),
        MediaKind::Video => update.video = TrackUpdate::Replace(tracks.video.expect("made with one")),
    }
    within(room.update_stream(&key("camera"), update)).await.expect("unmutes");
}

pub(super) async fn v01_every_change_comes_with_the_state_after_it(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    let mut events = alice.events();
    let bob = join(&*stage, "bob").await;
    let changed = named(&mut events, "state_changed").await;
    assert!(changed.state.participant(own_id(&bob)).is_some());
    within(alice.add_stream(&key("camera"), Tracks::default())).await.expect("publishes");
    let changed = named(&mut events, "state_changed").await;
    assert!(changed.state.participant_stream(own_id(&alice), &key("camera")).is_some());
}

pub(super) async fn v02_connected_comes_once(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = stage.room(options(&*stage, "alice").await);
    let mut events = alice.events();
    within(alice.connect()).await.expect("joins");
    within(alice.disconnect()).await.expect("leaves");
    assert_eq!(names_until(&mut events, "disconnected").await, ["connected", "disconnected"]);
}

pub(super) async fn v03_disconnected_has_the_true_reason(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let (carol, dave) = (join(&*stage, "carol").await, join(&*stage, "dave").await);
    let mut events = [&alice, &bob, &carol, &dave].map(Room::events);
    within(alice.disconnect()).await.expect("leaves");
    within(stage.moderate(ModerationRequest::Kick(these(&[&bob])))).await;
    within(stage.moderate(ModerationRequest::EndSession)).await;
    let late = join(&*stage, "late").await;
    let mut late_events = late.events();
    within(stage.delete_room()).await;
    let reason = |event: roomful::Event| match event.kind {
        EventKind::Disconnected { reason } => reason,
        other => panic!("{other:?}"),
    };
    let expected = [
        DisconnectReason::UserInitiated,
        DisconnectReason::Kicked,
        DisconnectReason::SessionEnded,
        DisconnectReason::SessionEnded,
    ];
    for (events, expected) in events.iter_mut().zip(expected) {
        assert_eq!(reason(named(events, "disconnected").await), expected);
    }
    assert_eq!(reason(named(&mut late_events, "disconnected").await), DisconnectReason::RoomExpired);
}

pub(super) async fn v04_others_that_join_are_told_oneself_is_not(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = stage.room(options(&*stage, "alice").await);
    let mut events = alice.events();
    within(alice.connect()).await.expect("joins");
    let bob = join(&*stage, "bob").await;
    assert_eq!(names_until(&mut events, "participant_joined").await, ["connected", "participant_joined"]);
    meet(&[&alice, &bob]).await;
}

pub(super) async fn v05_whoever_leaves_is_told_with_the_reason_if_kicked(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let carol = join(&*stage, "carol").await;
    meet(&[&alice, &bob, &carol]).await;
    let (mut events, mut kicked) = (alice.events(), carol.events());
    let (b, c) = (own_id(&bob), own_id(&carol));
    within(bob.disconnect()).await.expect("leaves");
    within(stage.moderate(ModerationRequest::Kick(these(&[&carol])))).await;
    let leaving = |event: roomful::Event| match event.kind {
        EventKind::ParticipantLeaving { participant, reason } => (participant, reason),
        other => panic!("{other:?}"),
    };
    assert_eq!(leaving(named(&mut events, "participant_leaving").await), (b, None));
    assert_eq!(leaving(named(&mut events, "participant_leaving").await), (c, Some(LeaveReason::Kicked)));
    // The kicked one has seen the other one leave before.
    assert_eq!(leaving(named(&mut kicked, "participant_leaving").await), (b, None));
    assert_eq!(leaving(named(&mut kicked, "participant_leaving").await), (c, Some(LeaveReason::Kicked)));
}

pub(super) async fn v06_left_comes_last(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera: _camera, .. } = call(&*stage).await;
    let mut events = bob.events();
    let gone = own_id(&alice);
    within(alice.disconnect()).await.expect("leaves");
    let left = named(&mut events, "participant_left").await;
    assert_eq!(left.kind, EventKind::ParticipantLeft { participant: gone });
    assert_eq!((left.state.participants().len(), left.state.streams().len()), (1, 0));
}

pub(super) async fn v07_published_is_told_to_both_sides(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let mut events = [alice.events(), bob.events()];
    within(alice.add_stream(&key("camera"), Tracks::default())).await.expect("publishes");
    for events in &mut events {
        let told = named(events, "stream_published").await;
        let expected = EventKind::StreamPublished { participant: own_id(&alice), key: key("camera") };
        assert_eq!(told.kind, expected);
        assert!(told.state.participant_stream(own_id(&alice), &key("camera")).is_some());
    }
}

pub(super) async fn v08_unpublished_is_told_to_both_sides(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    within(alice.add_stream(&key("camera"), Tracks::default())).await.expect("publishes");
    hears_of(&bob, own_id(&alice), "camera").await;
    let mut events = [alice.events(), bob.events()];
    within(alice.remove_stream(&key("camera"))).await.expect("removes");
    for events in &mut events {
        let told = named(events, "stream_unpublished").await;
        assert_eq!(
            told.kind,
            EventKind::StreamUnpublished { participant: own_id(&alice), key: key("camera") }
        );
        assert!(told.state.participant_stream(own_id(&alice), &key("camera")).is_none());
    }
}

pub(super) async fn v09_enabled_names_the_kind(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera, .. } = call(&*stage).await;
    for kind in MediaKind::ALL {
        mute(&alice, kind).await;
        let mut events = [alice.events(), bob.events()];
        unmute(&alice, &camera, kind).await;
        for events in &mut events {
            let told = named(events, "track_enabled").await;
            assert_eq!(
                told.kind,
                EventKind::TrackEnabled { participant: own_id(&alice), key: key("camera"), kind }
            );
        }
    }
}

pub(super) async fn v10_disabled_names_the_kind(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera: _camera, .. } = call(&*stage).await;
    for kind in MediaKind::ALL {
        let mut events = [alice.events(), bob.events()];
        mute(&alice, kind).await;
        for events in &mut events {
            let told = named(events, "track_disabled").await;
            assert_eq!(
                told.kind,
                EventKind::TrackDisabled { participant: own_id(&alice), key: key("camera"), kind }
            );
        }
    }
}

pub(super) async fn v11_censored_is_told_for_both_kinds(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera: _camera, .. } = call(&*stage).await;
    for kind in MediaKind::ALL {
        let mut events = [alice.events(), bob.events()];
        censor(&*stage, these(&[&alice]), kind, true).await;
        for events in &mut events {
            let told = named(events, "track_censored").await;
            assert_eq!(
                told.kind,
                EventKind::TrackCensored { participant: own_id(&alice), key: key("camera"), kind }
            );
            let stream =
                told.state.participant_stream(own_id(&alice), &key("camera")).expect("there").clone();
            assert!(stream.is_censored(kind) && stream.is_enabled(kind), "each by itself");
        }
    }
}

pub(super) async fn v12_uncensored_comes_after_censored(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera: _camera, .. } = call(&*stage).await;
    let mut events = bob.events();
    // What is not censored cannot be uncensored, and that is told by nothing.
    censor(&*stage, these(&[&alice]), MediaKind::Audio, false).await;
    censor(&*stage, these(&[&alice]), MediaKind::Audio, true).await;
    censor(&*stage, these(&[&alice]), MediaKind::Audio, false).await;
    assert_eq!(names_until(&mut events, "track_uncensored").await, ["track_censored", "track_uncensored"]);
}

pub(super) async fn v13_activity_names_the_stream(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera, .. } = call(&*stage).await;
    let mut events = [alice.events(), bob.events()];
    camera.set_level(25);
    for events in &mut events {
        let told = named(events, "audio_activity").await;
        let expected = EventKind::AudioActivity { participant: own_id(&alice), key: Some(key("camera")) };
        assert_eq!(told.kind, expected);
        assert!(told.state.is_speaking(own_id(&alice)));
    }
}

pub(super) async fn v14_a_subscription_starts_once(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    within(alice.add_stream(&key("camera"), Tracks::default())).await.expect("publishes");
    let mut events = bob.events();
    subscribe(&bob, &alice, "camera").await;
    within(bob.remove_subscription(own_id(&alice), &key("camera"))).await.expect("ends");
    let names = names_until(&mut events, "subscription_ended").await;
    let told: Vec<_> = names.into_iter().filter(|name| name.starts_with("subscription")).collect();
    assert_eq!(told, ["subscription_started", "subscription_ended"]);
}

pub(super) async fn v15_a_subscription_is_reconfigured(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera: _camera, .. } = call(&*stage).await;
    let mut events = bob.events();
    let config = SubscriptionConfig { audio: false, ..SubscriptionConfig::default() };
    within(bob.update_subscription(own_id(&alice), &key("camera"), config)).await.expect("updates");
    let told = named(&mut events, "subscription_reconfigured").await;
    let subscription = told.state.subscription(own_id(&alice), &key("camera")).expect("there");
    assert!(!subscription.audio && subscription.video);
}

pub(super) async fn v16_a_subscription_ends_with_its_stream_and_with_its_publisher(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    for name in ["one", "two"] {
        within(alice.add_stream(&key(name), Tracks::default())).await.expect("publishes");
        subscribe(&bob, &alice, name).await;
    }
    let (mut events, publisher) = (bob.events(), own_id(&alice));
    within(alice.remove_stream(&key("one"))).await.expect("removes");
    let ended = |name| EventKind::SubscriptionEnded { participant: publisher, key: key(name) };
    assert_eq!(named(&mut events, "subscription_ended").await.kind, ended("one"));
    within(alice.disconnect()).await.expect("leaves");
    assert_eq!(named(&mut events, "subscription_ended").await.kind, ended("two"));
}

pub(super) async fn v17_a_message_has_sender_text_and_recipients(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let mut events = bob.events();
    let message = roomful::Message { meta: Some("about it".into()), ..text("hello") };
    within(alice.send_message(message.clone(), Some(vec![own_id(&bob)]))).await.expect("is accepted");
    let told = named(&mut events, "message_received").await;
    let recipients = Some([own_id(&bob)].into());
    assert_eq!(told.kind, EventKind::MessageReceived { sender: own_id(&alice), message, recipients });
}

pub(super) async fn v18_reports_are_about_those_chosen(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let mut events = bob.events();
    let options = NetworkMetricsOptions::default();
    within(bob.enable_network_metrics_report(vec![own_id(&alice)], options)).await.expect("is accepted");
    let EventKind::NetworkMetricsReport { metrics } = named(&mut events, "network_metrics_report").await.kind
    else {
        panic!("named so");
    };
    assert_eq!(metrics.keys().copied().collect::<Vec<_>>(), [own_id(&alice)]);
    assert_eq!(metrics[&own_id(&alice)].connection_quality, Quality::Excellent);
    assert_eq!(metrics[&own_id(&alice)].streams, None);
}

pub(super) async fn e01_a_lost_connection_is_told(venue: &dyn Venue) {
    let stage = open(venue).await;
    let bob = join_fragile(&*stage, "bob", |_| {}).await;
    let mut events = bob.events();
    stage.cut();
    let told = named(&mut events, "reconnecting").await;
    assert_eq!(told.state.connection(), Connection::Reconnecting);
}

pub(super) async fn e02_a_connection_that_is_back_is_told(venue: &dyn Venue) {
    let stage = open(venue).await;
    let bob = join_fragile(&*stage, "bob", |_| {}).await;
    let (mut events, before) = (bob.events(), own_id(&bob));
    stage.cut();
    named(&mut events, "reconnecting").await;
    stage.mend();
    let told = named(&mut events, "reconnected").await;
    assert_eq!((told.state.connection(), own_id(&bob)), (Connection::Stable, before));
}

pub(super) async fn e03_a_token_that_ends_is_told_before(venue: &dyn Venue) {
    let stage = open(venue).await;
    let request = TokenRequest { life: Duration::from_secs(10), ..TokenRequest::default() };
    let token = stage.token(request).await.access;
    let alice = stage.room(stage.options(token));
    let mut events = alice.events();
    within(alice.connect()).await.expect("joins");
    let remaining = wait_for(&mut events, |event| match event.kind {
        EventKind::TokenExpiring { remaining } => Some(remaining),
        _ => None,
    })
    .await;
    // A fifth of its life would be two seconds; five are the least.
    assert!((3..=5).contains(&remaining.as_secs()), "{remaining:?}");
}

pub(super) async fn e04_the_end_of_activity_is_told(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera, .. } = call(&*stage).await;
    let mut events = bob.events();
    camera.set_level(25);
    named(&mut events, "audio_activity").await;
    camera.set_level(100);
    let told = named(&mut events, "audio_activity_ended").await;
    let expected = EventKind::AudioActivityEnded { participant: own_id(&alice), key: Some(key("camera")) };
    assert_eq!(told.kind, expected);
    assert!(!told.state.is_speaking(own_id(&alice)));
}

pub(super) async fn e05_the_dominant_speaker_is_told(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera, .. } = call(&*stage).await;
    let mut events = bob.events();
    camera.set_level(30);
    let told = named(&mut events, "dominant_speaker_changed").await;
    assert_eq!(told.state.dominant_speaker(), Some(own_id(&alice)));
    // Somebody who is clearly louder takes over.
    let louder = Camera::start();
    louder.publish(&bob, "voice").await;
    subscribe(&alice, &bob, "voice").await;
    louder.set_level(5);
    let told = named(&mut events, "dominant_speaker_changed").await;
    assert_eq!(told.state.dominant_speaker(), Some(own_id(&bob)));
}

pub(super) async fn e06_another_encoding_is_told(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let camera = Camera::start_with(VideoTrackOptions { simulcast: true });
    camera.publish(&alice, "camera").await;
    let mut video = subscribe(&bob, &alice, "camera").await.video.expect("asked for");
    read(&mut video, 5).await;
    let mut events = bob.events();
    let config = SubscriptionConfig { preferred_layer: Some(Rid::Low), ..SubscriptionConfig::default() };
    within(bob.update_subscription(own_id(&alice), &key("camera"), config)).await.expect("updates");
    let told = named(&mut events, "layer_changed").await;
    let (participant, key) = (own_id(&alice), key("camera"));
    assert_eq!(told.kind, EventKind::LayerChanged { participant, key: key.clone(), layer: Rid::Low });
    assert_eq!(told.state.subscription(participant, &key).expect("there").layer, Some(Rid::Low));
}

pub(super) async fn e07_a_pause_is_told(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera: _camera, .. } = call(&*stage).await;
    let mut events = bob.events();
    let config = SubscriptionConfig { paused: true, ..SubscriptionConfig::default() };
    within(bob.update_subscription(own_id(&alice), &key("camera"), config)).await.expect("pauses");
    let told = named(&mut events, "subscription_paused").await;
    assert!(told.state.subscription(own_id(&alice), &key("camera")).expect("there").is_paused);
}

pub(super) async fn e08_its_end_is_told(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, mut video, camera: _camera, .. } = call(&*stage).await;
    let config = SubscriptionConfig { paused: true, ..SubscriptionConfig::default() };
    within(bob.update_subscription(own_id(&alice), &key("camera"), config)).await.expect("pauses");
    let mut events = bob.events();
    let config = SubscriptionConfig::default();
    within(bob.update_subscription(own_id(&alice), &key("camera"), config)).await.expect("resumes");
    named(&mut events, "subscription_resumed").await;
    read(&mut video, 5).await;
}

pub(super) async fn e09_a_stream_that_gets_worse_is_told(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera: _camera, .. } = call(&*stage).await;
    let mut events = bob.events();
    stage.lose_media(0.3);
    let (participant, name, quality) = wait_for(&mut events, |event| match &event.kind {
        EventKind::StreamQualityChanged { participant, key, quality } if *quality < Quality::Good => {
            Some((*participant, key.clone(), *quality))
        }
        _ => None,
    })
    .await;
    assert_eq!((participant, name), (own_id(&alice), key("camera")));
    assert!(quality < Quality::Good);
}

pub(super) async fn e10_a_lost_media_path_is_told(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { bob, camera: _camera, .. } = call(&*stage).await;
    let mut events = bob.events();
    stage.lose_media(1.0);
    let told = named(&mut events, "error").await;
    assert_eq!(told.kind, EventKind::Error { fault: roomful::Fault::MediaLost });
}

pub(super) async fn o01_leaving_has_its_order(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera: _camera, .. } = call(&*stage).await;
    let mut events = bob.events();
    within(alice.disconnect()).await.expect("leaves");
    let names = names_until(&mut events, "participant_left").await;
    assert_eq!(
        names,
        ["participant_leaving", "subscription_ended", "stream_unpublished", "participant_left"]
    );
}

pub(super) async fn o02_being_kicked_has_its_order(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (_alice, bob) = two(&*stage).await;
    let mut events = bob.events();
    within(stage.moderate(ModerationRequest::Kick(these(&[&bob])))).await;
    assert_eq!(names_until(&mut events, "disconnected").await, ["participant_leaving", "disconnected"]);
}

pub(super) async fn o03_what_was_there_before_is_not_told(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    within(alice.add_stream(&key("camera"), Tracks::default())).await.expect("publishes");
    let bob = stage.room(options(&*stage, "bob").await);
    let mut events = bob.events();
    within(bob.connect()).await.expect("joins");
    within(bob.disconnect()).await.expect("leaves");
    assert_eq!(names_until(&mut events, "disconnected").await, ["connected", "disconnected"]);
}

pub(super) async fn o04_a_resumed_stay_is_told_the_differences_once(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, gone) = two(&*stage).await;
    let bob = join_fragile(&*stage, "fragile", |_| {}).await;
    meet(&[&alice, &gone, &bob]).await;
    within(alice.add_stream(&key("before"), Tracks::default())).await.expect("publishes");
    hears_of(&bob, own_id(&alice), "before").await;
    let mut events = bob.events();
    stage.cut();
    named(&mut events, "reconnecting").await;
    within(alice.add_stream(&key("after"), Tracks::default())).await.expect("publishes");
    within(alice.remove_stream(&key("before"))).await.expect("removes");
    within(gone.disconnect()).await.expect("leaves");
    within(alice.send_message(text("meanwhile"), None)).await.expect("is accepted");
    let messages = Arc::<Mutex<Vec<String>>>::default();
    let heard = messages.clone();
    let _ = bob.on(EventName::MessageReceived, move |event| {
        if let EventKind::MessageReceived { message, .. } = &event.kind {
            heard.lock().push(message.payload.to_string());
        }
    });
    stage.mend();
    let mut names = names_until(&mut events, "reconnected").await;
    assert_eq!(names.pop(), Some("reconnected"));
    names.sort_unstable();
    let expected = ["participant_leaving", "participant_left", "stream_published", "stream_unpublished"];
    assert_eq!(names, expected);
    eventually(|| *messages.lock() == ["meanwhile"]).await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(*messages.lock(), ["meanwhile"], "once");
}

pub(super) async fn o04_whoever_was_kicked_meanwhile_is_told_as_kicked(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, gone) = two(&*stage).await;
    let bob = join_fragile(&*stage, "fragile", |_| {}).await;
    meet(&[&alice, &gone, &bob]).await;
    let (mut events, kicked) = (bob.events(), own_id(&gone));
    stage.cut();
    named(&mut events, "reconnecting").await;
    within(stage.moderate(ModerationRequest::Kick(these(&[&gone])))).await;
    within(alice.disconnect()).await.expect("leaves");
    stage.mend();
    let mut reasons = BTreeMap::new();
    wait_for(&mut events, |event| {
        if let EventKind::ParticipantLeaving { participant, reason } = event.kind {
            reasons.insert(participant == kicked, reason);
        }
        (event.name() == "reconnected").then_some(())
    })
    .await;
    assert_eq!(reasons, BTreeMap::from([(false, None), (true, Some(LeaveReason::Kicked))]));
}

pub(super) async fn subscribed_to_preference(
    subscriber: &Room,
    publisher: &Room,
    layer: Rid,
) -> roomful::RemoteTracks {
    let config = SubscriptionConfig { preferred_layer: Some(layer), ..SubscriptionConfig::default() };
    subscribe_with(subscriber, publisher, "camera", config).await
}
