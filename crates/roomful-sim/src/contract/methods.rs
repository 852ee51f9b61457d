//! Rows M01 to M21: what every method promises.

#![expect(clippy::wildcard_enum_match_arm, reason = "a scenario that says what it waits for says enough")]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use roomful::{
    Codec, DisconnectReason, ErrorKind, EventKind, EventName, MediaKind, NetworkMetricsOptions, Origin,
    ParticipantId, Quality, RemoteTracks, Rid, Status, SubscriptionConfig, TrackUpdate, Tracks, TracksUpdate,
    VideoTrackOptions,
};
use tokio::time::{Instant, sleep};

use super::{
    StageConfig, Venue,
    stagehand::{
        Call, Camera, call, eventually, falls_silent, hears_of, join, join_fragile, key, meet, named,
        negotiations, open, options, own_id, read, subscribe, subscribe_with, text, two, wait_for, within,
    },
};
use crate::TokenRequest;

pub(super) async fn m01_id_is_that_of_the_room(venue: &dyn Venue) {
    let stage = open(venue).await;
    let options = options(&*stage, "alice").await;
    let id = options.room_id;
    assert_eq!(stage.room(options).id(), id);
}

pub(super) async fn m02_listeners_are_called_in_order_and_not_after_unsubscribing(venue: &dyn Venue) {
    let stage = open(venue).await;
    let room = join(&*stage, "alice").await;
    let calls = Arc::<Mutex<Vec<u8>>>::default();
    let noting = |number| {
        let calls = calls.clone();
        move |_: &roomful::Event| calls.lock().push(number)
    };
    let first = room.on(EventName::MessageReceived, noting(1));
    let _second = room.on(EventName::MessageReceived, noting(2));
    let mut events = room.events();
    within(room.send_message(text("go"), None)).await.expect("is accepted");
    named(&mut events, "message_received").await;
    assert_eq!(std::mem::take(&mut *calls.lock()), [1, 2]);
    first.unsubscribe();
    within(room.send_message(text("go"), None)).await.expect("is accepted");
    named(&mut events, "message_received").await;
    assert_eq!(*calls.lock(), [2]);
}

pub(super) async fn m02_a_panicking_listener_harms_nobody_else(venue: &dyn Venue) {
    let stage = open(venue).await;
    let room = join(&*stage, "alice").await;
    let calls = Arc::new(AtomicUsize::new(0));
    let _bad = room.on(EventName::MessageReceived, |_| panic!("one listener's trouble"));
    let counter = calls.clone();
    let _good = room.on(EventName::MessageReceived, move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    within(room.send_message(text("go"), None)).await.expect("is accepted");
    eventually(|| calls.load(Ordering::SeqCst) == 1).await;
    within(room.send_message(text("go on"), None)).await.expect("the room goes on");
}

pub(super) async fn m02_a_slow_reader_is_told_what_it_missed(venue: &dyn Venue) {
    let mut config = StageConfig::default();
    (config.sfu.request_burst, config.sfu.message_burst) = (10_000, 10_000);
    let stage = venue.open(config).await;
    let room = join(&*stage, "alice").await;
    let mut waiting = room.events();
    let (heard, count) = (Arc::new(AtomicUsize::new(0)), 4096 + 10);
    let counter = heard.clone();
    let _ = room.on(EventName::MessageReceived, move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    for batch in 0..count / 64 + 1 {
        let batch = (0..64).map(|number| room.send_message(text(&(64 * batch + number).to_string()), None));
        for result in within(futures_util::future::join_all(batch)).await {
            result.expect("is accepted");
        }
    }
    eventually(|| heard.load(Ordering::SeqCst) >= count).await;
    let missed = wait_for(&mut waiting, |event| match event.kind {
        EventKind::Lagged { missed } => Some(missed),
        _ => None,
    })
    .await;
    let next = wait_for(&mut waiting, |event| match &event.kind {
        EventKind::MessageReceived { message, .. } => Some(message.payload.to_string()),
        _ => None,
    })
    .await;
    assert!(missed >= 10, "{missed}");
    assert_eq!(next, missed.to_string(), "told of every one that it missed, and of no other");
}

pub(super) async fn m03_connecting_is_seen_and_everything_that_was_there_is_in_the_state(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    within(alice.add_stream(&key("camera"), Tracks::default())).await.expect("publishes");
    let bob = stage.room(options(&*stage, "bob").await);
    let mut events = bob.events();
    assert_eq!(bob.state().status(), Status::Initialized);
    within(bob.connect()).await.expect("joins");
    let mut seen = Vec::new();
    let connected = wait_for(&mut events, |event| {
        if event.kind == EventKind::StateChanged {
            seen.push(event.state.status());
        }
        (event.kind == EventKind::Connected).then(|| event.state.clone())
    })
    .await;
    assert_eq!(seen[..2], [Status::Connecting, Status::Connected]);
    assert_eq!(connected.participants().len(), 2);
    assert_eq!(connected.local_participant().map(|me| me.origin), Some(Origin::Local));
    assert!(connected.participant_stream(own_id(&alice), &key("camera")).is_some());
}

pub(super) async fn m03_media_that_cannot_get_through_is_an_error_of_its_own(venue: &dyn Venue) {
    let stage = open(venue).await;
    stage.lose_media(1.0);
    let mut options = options(&*stage, "alice").await;
    options.request_timeout = Duration::from_secs(2);
    let alice = stage.room(options);
    within(alice.connect()).await.expect("joining needs no media");
    let camera = Camera::start();
    let error = within(alice.add_stream(&key("camera"), camera.tracks.clone())).await.expect_err("no path");
    assert_eq!(error.kind(), ErrorKind::MediaUnreachable);
    assert!(alice.local_streams().is_empty());
}

pub(super) async fn m03_a_subscription_whose_media_cannot_get_through_says_so(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    let film = Camera::start();
    film.publish(&alice, "camera").await;
    let mut options = options(&*stage, "bob").await;
    options.request_timeout = Duration::from_secs(2);
    let bob = stage.room(options);
    within(bob.connect()).await.expect("joining needs no media");
    hears_of(&bob, own_id(&alice), "camera").await;
    stage.lose_media(1.0);
    let (camera, config) = (key("camera"), SubscriptionConfig::default());
    let subscribing = within(bob.add_subscription(own_id(&alice), &camera, config)).await;
    let error = subscribing.map(drop).expect_err("no path");
    assert_eq!(error.kind(), ErrorKind::MediaUnreachable);
    assert_eq!(bob.state().subscriptions().len(), 0);
}

pub(super) async fn m04_disconnecting_is_seen_by_both_sides_and_the_room_can_connect_again(
    venue: &dyn Venue,
) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let (mut own, mut theirs, gone) = (alice.events(), bob.events(), own_id(&alice));
    within(alice.disconnect()).await.expect("leaves");
    let mut seen = Vec::new();
    wait_for(&mut own, |event| {
        seen.push(event.state.status());
        (event.name() == "disconnected").then_some(())
    })
    .await;
    assert_eq!(seen.first(), Some(&Status::Disconnecting));
    assert_eq!(seen.last(), Some(&Status::Disconnected));
    assert!(named(&mut theirs, "participant_left").await.state.participant(gone).is_none());
    within(alice.connect()).await.expect("joins again");
    assert_ne!(own_id(&alice), gone, "every stay has an id of its own");
}

pub(super) async fn m04_leaving_is_bounded_on_a_dead_network(venue: &dyn Venue) {
    let stage = open(venue).await;
    for is_silent in [false, true] {
        let bob = join_fragile(&*stage, "bob", |_| {}).await;
        if is_silent {
            stage.silence()
        } else {
            stage.cut()
        }
        let start = Instant::now();
        within(bob.disconnect()).await.expect("leaves");
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        assert_eq!(bob.state().status(), Status::Disconnected);
        stage.mend();
    }
}

pub(super) async fn m05_a_stay_outlives_its_first_token(venue: &dyn Venue) {
    let stage = open(venue).await;
    let life = Duration::from_secs(10);
    let request = TokenRequest { identity: Some("alice".to_owned()), life, ..TokenRequest::default() };
    let pair = stage.token(request).await;
    let alice = stage.room(stage.options(pair.access));
    within(alice.connect()).await.expect("joins");
    let newer = stage.refresh(&pair.refresh, Duration::from_secs(600)).await.expect("a refresh token");
    within(alice.update_client_token(newer)).await.expect("is accepted");
    sleep(life + Duration::from_secs(2)).await;
    assert_eq!(alice.state().status(), Status::Connected);
}

pub(super) async fn m05_a_bad_new_token_is_an_error_and_the_old_one_stays_in_force(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    let error = within(alice.update_client_token("nonsense")).await.expect_err("is refused");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    within(alice.send_message(text("still here"), None)).await.expect("the stay goes on");
}

pub(super) async fn m05_a_bad_new_token_does_not_put_the_end_off(venue: &dyn Venue) {
    let stage = open(venue).await;
    let life = Duration::from_secs(10);
    let request = TokenRequest { identity: Some("alice".to_owned()), life, ..TokenRequest::default() };
    let alice = stage.room(stage.options(stage.token(request).await.access));
    within(alice.connect()).await.expect("joins");
    let mut events = alice.events();
    // Good for ten minutes, but somebody else's; what it grants is not granted.
    let request = TokenRequest { identity: Some("bob".to_owned()), ..TokenRequest::default() };
    for bad in [stage.token(request).await.access, "nonsense".to_owned()] {
        let error = within(alice.update_client_token(bad)).await.expect_err("is refused");
        assert_eq!(error.kind(), ErrorKind::Unauthorized);
    }
    within(alice.send_message(text("still here"), None)).await.expect("the stay goes on");
    named(&mut events, "disconnected").await;
    assert_eq!(alice.state().disconnect_reason(), Some(DisconnectReason::Unauthorized));
}

pub(super) async fn m06_an_old_snapshot_never_changes(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    let before = alice.state();
    let me = before.local_participant().expect("joined").clone();
    let bob = join(&*stage, "bob").await;
    meet(&[&alice, &bob]).await;
    assert_eq!(before.participants().len(), 1);
    let after = alice.state();
    assert!(Arc::ptr_eq(&me, after.local_participant().expect("joined")), "unchanged members stay the same");
    assert!(after.version() > before.version());
}

pub(super) async fn m07_the_local_participant_is_local(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let me = alice.local_participant().expect("joined");
    assert_eq!((me.origin, Some(me.id)), (Origin::Local, alice.state().local_participant_id()));
    assert_eq!(me.identity.as_deref(), Some("alice"));
    let seen = bob.state().participant(me.id).expect("both met").clone();
    assert_eq!(seen.origin, Origin::Remote);
}

pub(super) async fn m08_local_streams_are_ones_own_by_key(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    within(alice.add_stream(&key("camera"), Tracks::default())).await.expect("publishes");
    within(alice.add_stream(&key("screen"), Tracks::default())).await.expect("publishes");
    within(bob.add_stream(&key("other"), Tracks::default())).await.expect("publishes");
    hears_of(&alice, own_id(&bob), "other").await;
    let streams = alice.local_streams();
    assert_eq!(streams.keys().cloned().collect::<Vec<_>>(), [key("camera"), key("screen")]);
    assert!(streams.values().all(|stream| stream.origin == Origin::Local && stream.is_configured));
}

pub(super) async fn m09_add_stream_takes_audio_video_both_or_none(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let cameras: Vec<Camera> = (0..4).map(|_| Camera::start()).collect();
    let kinds =
        [("both", true, true), ("sound", true, false), ("picture", false, true), ("none", false, false)];
    for (camera, (name, audio, video)) in cameras.iter().zip(kinds) {
        let Tracks { audio: sound, video: picture } = camera.tracks.clone();
        let tracks = Tracks { audio: sound.filter(|_| audio), video: picture.filter(|_| video) };
        within(alice.add_stream(&key(name), tracks)).await.expect("publishes");
        let own = alice.local_streams()[&key(name)].clone();
        assert_eq!((own.is_audio_enabled, own.is_video_enabled), (audio, video), "{name}");
        hears_of(&bob, own_id(&alice), name).await;
        let seen = bob.participant_stream(own_id(&alice), &key(name)).expect("heard of");
        assert_eq!((seen.is_audio_enabled, seen.is_video_enabled), (audio, video), "{name}");
    }
}

pub(super) async fn m09_add_stream_refuses_a_key_in_use(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    within(alice.add_stream(&key("camera"), Tracks::default())).await.expect("publishes");
    let error = within(alice.add_stream(&key("camera"), Tracks::default())).await.expect_err("in use");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(alice.local_streams().len(), 1);
}

pub(super) async fn m09_add_stream_refuses_a_key_in_use_also_in_a_race(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    let camera = key("camera");
    let adding = [(); 2].map(|()| alice.add_stream(&camera, Tracks::default()));
    let results = within(futures_util::future::join_all(adding)).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(alice.local_streams().len(), 1);
}

pub(super) async fn m10_three_encodings_leave_the_publisher(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let camera = Camera::start_with(VideoTrackOptions { simulcast: true });
    camera.publish(&alice, "camera").await;
    let carol = join(&*stage, "carol").await;
    let dave = join(&*stage, "dave").await;
    let mut tracks = Vec::new();
    for (room, layer) in [(&bob, Rid::High), (&carol, Rid::Medium), (&dave, Rid::Low)] {
        let config = SubscriptionConfig { preferred_layer: Some(layer), ..SubscriptionConfig::default() };
        let taken = subscribe_with(room, &alice, "camera", config).await;
        tracks.push((layer, taken.video.expect("asked for")));
    }
    for (layer, track) in &mut tracks {
        let frames = read(track, 10).await;
        assert!(frames.iter().all(|frame| Camera::is_of(frame, *layer)), "{layer}");
        frames.iter().for_each(|frame| camera.check(frame));
    }
    sleep(Duration::from_millis(1500)).await;
    let stats = within(alice.webrtc_stats_for_stream(own_id(&alice), &key("camera"))).await.expect("own");
    let sent: BTreeSet<Rid> =
        stats.senders.video.into_iter().filter(|(_, one)| one.packets_sent > 0).map(|(rid, _)| rid).collect();
    assert_eq!(sent, BTreeSet::from(Rid::ALL));
}

pub(super) async fn m11_a_muted_track_is_unmuted_without_a_new_subscription(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera, mut video, .. } = call(&*stage).await;
    let mute = TracksUpdate { video: TrackUpdate::Mute, ..TracksUpdate::default() };
    let mut events = bob.events();
    within(alice.update_stream(&key("camera"), mute)).await.expect("mutes");
    named(&mut events, "track_disabled").await;
    let own = alice.local_streams()[&key("camera")].clone();
    assert!(!own.is_video_enabled && own.is_audio_enabled);
    let track = camera.tracks.video.clone().expect("made with one");
    let unmute = TracksUpdate { video: TrackUpdate::Replace(track), ..TracksUpdate::default() };
    within(alice.update_stream(&key("camera"), unmute)).await.expect("unmutes");
    named(&mut events, "track_enabled").await;
    read(&mut video, 5).await;
}

pub(super) async fn m11_a_track_is_replaced(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob: _bob, camera: _camera, mut video, .. } = call(&*stage).await;
    let other = Camera::start();
    let track = other.tracks.video.clone().expect("made with one");
    let id = track.id();
    let replace = TracksUpdate { video: TrackUpdate::Replace(track), ..TracksUpdate::default() };
    within(alice.update_stream(&key("camera"), replace)).await.expect("replaces");
    assert_eq!(alice.local_streams()[&key("camera")].video_track, Some(id));
    // What was under way comes first; then all is the new camera's.
    within(async {
        loop {
            let frame = video.recv().await.expect("the subscription lasts");
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| other.check(&frame))).is_ok() {
                return;
            }
        }
    })
    .await;
    read(&mut video, 5).await.iter().for_each(|frame| other.check(frame));
}

pub(super) async fn m11_an_unknown_key_is_refused(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    let error =
        within(alice.update_stream(&key("none"), TracksUpdate::default())).await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = within(alice.remove_stream(&key("none"))).await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

pub(super) async fn m12_a_removed_stream_is_gone_for_all_and_its_media_stops(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera, mut audio, mut video, .. } = call(&*stage).await;
    let mut events = bob.events();
    within(alice.remove_stream(&key("camera"))).await.expect("removes");
    assert!(alice.local_streams().is_empty());
    named(&mut events, "stream_unpublished").await;
    assert!(bob.participant_stream(own_id(&alice), &key("camera")).is_none());
    // The camera goes on; nothing of it is asked for any more, and its subscriber's tracks end.
    for kind in MediaKind::ALL {
        eventually(|| !camera.flows(kind, Rid::High)).await;
    }
    for track in [&mut audio, &mut video] {
        within(async { while track.recv().await.is_some() {} }).await;
    }
}

pub(super) async fn m13_tracks_are_in_the_state_and_flags_hold(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let camera = Camera::start();
    camera.publish(&alice, "camera").await;
    let config = SubscriptionConfig { video: false, ..SubscriptionConfig::default() };
    let RemoteTracks { audio, video } = subscribe_with(&bob, &alice, "camera", config).await;
    assert!(video.is_none());
    let mut audio = audio.expect("asked for");
    read(&mut audio, 5).await.iter().for_each(|frame| camera.check(frame));
    let stream = bob.participant_stream(own_id(&alice), &key("camera")).expect("there");
    assert_eq!((stream.audio_track, stream.video_track), (Some(audio.id()), None));
    let subscription = bob.state().subscription(own_id(&alice), &key("camera")).expect("there").clone();
    assert!(subscription.audio && !subscription.video);
    // Nobody wants the picture, so it is not even sent.
    assert!(!camera.flows(MediaKind::Video, Rid::High));
}

pub(super) async fn m13_each_mistake_has_an_error_of_its_own(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    within(alice.add_stream(&key("camera"), Tracks::default())).await.expect("publishes");
    hears_of(&bob, own_id(&alice), "camera").await;
    let stranger = ParticipantId::from_random([9; 16]);
    let config = SubscriptionConfig::default();
    within(bob.add_subscription(own_id(&alice), &key("camera"), config)).await.expect("subscribes");
    let attempts = [
        (&bob, stranger, "camera"),
        (&bob, own_id(&alice), "none"),
        (&alice, own_id(&alice), "camera"),
        (&bob, own_id(&alice), "camera"),
    ];
    let mut texts = BTreeSet::new();
    for (room, participant, name) in attempts {
        let error =
            within(room.add_subscription(participant, &key(name), config)).await.expect_err("a mistake");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        texts.insert(error.to_string());
    }
    assert_eq!(texts.len(), 4, "{texts:?}");
}

pub(super) async fn m14_flags_pause_and_preference_change_without_renegotiation(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera, mut audio, video, .. } = call(&*stage).await;
    let publisher = own_id(&alice);
    let negotiated = negotiations(&bob).await;
    let config = SubscriptionConfig { video: false, ..SubscriptionConfig::default() };
    within(bob.update_subscription(publisher, &key("camera"), config)).await.expect("updates");
    read(&mut audio, 5).await;
    eventually(|| !camera.flows(MediaKind::Video, Rid::High)).await;
    drop(video);
    let config = SubscriptionConfig { paused: true, ..SubscriptionConfig::default() };
    let tracks = within(bob.update_subscription(publisher, &key("camera"), config)).await.expect("updates");
    falls_silent(&mut audio).await;
    assert!(bob.state().subscription(publisher, &key("camera")).expect("there").is_paused);
    let config =
        SubscriptionConfig { preferred_layer: Some(Rid::Low), priority: 3, ..SubscriptionConfig::default() };
    within(bob.update_subscription(publisher, &key("camera"), config)).await.expect("updates");
    let mut video = tracks.video.expect("asked for again");
    read(&mut video, 5).await.iter().for_each(|frame| camera.check(frame));
    read(&mut audio, 5).await;
    let subscription = bob.state().subscription(publisher, &key("camera")).expect("there").clone();
    assert_eq!((subscription.preferred_layer, subscription.priority), (Some(Rid::Low), 3));
    assert!(!subscription.is_paused);
    assert_eq!(negotiations(&bob).await, negotiated, "nothing was negotiated");
}

pub(super) async fn m15_a_subscription_ends_and_can_be_made_again(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera, mut video, .. } = call(&*stage).await;
    let mut events = bob.events();
    within(bob.remove_subscription(own_id(&alice), &key("camera"))).await.expect("ends");
    let ended = named(&mut events, "subscription_ended").await;
    assert!(ended.state.subscription(own_id(&alice), &key("camera")).is_none());
    within(async { while video.recv().await.is_some() {} }).await;
    eventually(|| !camera.flows(MediaKind::Video, Rid::High)).await;
    let error = within(bob.remove_subscription(own_id(&alice), &key("camera"))).await.expect_err("over");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let mut again = subscribe(&bob, &alice, "camera").await.video.expect("asked for");
    read(&mut again, 5).await.iter().for_each(|frame| camera.check(frame));
}

pub(super) async fn m16_streams_of_a_participant_are_a_map_by_key(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    for name in ["camera", "screen"] {
        within(alice.add_stream(&key(name), Tracks::default())).await.expect("publishes");
        hears_of(&bob, own_id(&alice), name).await;
    }
    let streams = bob.participant_streams(own_id(&alice));
    assert_eq!(streams.keys().cloned().collect::<Vec<_>>(), [key("camera"), key("screen")]);
    assert!(bob.participant_streams(ParticipantId::from_random([9; 16])).is_empty());
}

pub(super) async fn m17_a_stream_of_a_participant_or_none(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    within(alice.add_stream(&key("camera"), Tracks::default())).await.expect("publishes");
    hears_of(&bob, own_id(&alice), "camera").await;
    let stream = bob.participant_stream(own_id(&alice), &key("camera")).expect("there");
    assert_eq!((stream.participant_id, stream.key.as_str()), (own_id(&alice), "camera"));
    assert!(bob.participant_stream(own_id(&alice), &key("none")).is_none());
}

pub(super) async fn m18_own_streams_have_senders_subscribed_ones_receivers_others_nothing(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera: _camera, mut audio, mut video } = call(&*stage).await;
    let camera = key("camera");
    read(&mut audio, 100).await;
    read(&mut video, 10).await;
    let sent = within(alice.webrtc_stats_for_stream(own_id(&alice), &camera)).await.expect("own");
    let outbound = sent.senders.audio.expect("has audio");
    assert!(outbound.packets_sent >= 50 && outbound.bytes_sent >= 50 * 80, "{outbound:?}");
    let picture = &sent.senders.video[&Rid::High];
    assert!(picture.frames_sent >= 30 && picture.packets_sent >= 30, "{picture:?}");
    assert_eq!((picture.codec_id, picture.frames_encoded), (Codec::Vp8, None));
    assert!(sent.receivers.audio.is_none() && sent.receivers.video.is_none());
    let got = within(bob.webrtc_stats_for_stream(own_id(&alice), &camera)).await.expect("subscribed");
    let inbound = got.receivers.audio.expect("taken");
    assert!(inbound.packets_received >= 100 && inbound.header_bytes_received >= 1200, "{inbound:?}");
    let picture = got.receivers.video.expect("taken");
    assert!(picture.frames_received >= 12 && picture.frames_decoded.is_none(), "{picture:?}");
    assert!(got.senders.audio.is_none() && got.senders.video.is_empty());
    let carol = join(&*stage, "carol").await;
    let nothing = within(carol.webrtc_stats_for_stream(own_id(&alice), &camera)).await.expect("known");
    assert_eq!(nothing, roomful::WebRtcStats::default());
    let error =
        within(carol.webrtc_stats_for_stream(own_id(&alice), &key("none"))).await.expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

pub(super) async fn m18_losses_repairs_levels_and_delays_are_counted(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera, mut audio, mut video } = call(&*stage).await;
    camera.set_level(20);
    stage.lose_media(0.1);
    read(&mut video, 90).await;
    stage.lose_media(0.0);
    read(&mut audio, 75).await;
    let sent = within(alice.webrtc_stats_for_stream(own_id(&alice), &key("camera"))).await.expect("own");
    let picture = &sent.senders.video[&Rid::High];
    assert!(picture.nack_count > 0 && picture.retransmitted_packets_sent > 0, "{picture:?}");
    assert!(picture.retransmitted_bytes_sent > 0 && picture.round_trip_time.is_some(), "{picture:?}");
    assert!(picture.header_bytes_sent >= 12 * picture.packets_sent, "{picture:?}");
    assert!(sent.senders.audio.is_some_and(|sound| sound.header_bytes_sent >= 12 * sound.packets_sent));
    let got = within(bob.webrtc_stats_for_stream(own_id(&alice), &key("camera"))).await.expect("subscribed");
    let sound = got.receivers.audio.expect("taken");
    // Sound is not repaired.
    assert!(sound.packets_lost > 0 && !sound.jitter.is_zero(), "{sound:?}");
    assert!(sound.audio_level.is_some_and(|level| (level - 0.1).abs() < 1e-9), "{sound:?}");
    let picture = got.receivers.video.expect("taken");
    assert!(!picture.jitter.is_zero() && picture.frames_per_second > 0, "{picture:?}");
}

pub(super) async fn m19_messages_reach_one_several_or_all(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let carol = join(&*stage, "carol").await;
    meet(&[&alice, &bob, &carol]).await;
    let mut heard = [alice.events(), bob.events(), carol.events()];
    let (to_bob, to_carol) = (own_id(&bob), own_id(&carol));
    within(alice.send_message(text("one"), Some(vec![to_bob]))).await.expect("is accepted");
    within(alice.send_message(text("several"), Some(vec![to_bob, to_carol]))).await.expect("is accepted");
    within(alice.send_message(text("all"), None)).await.expect("is accepted");
    for (events, expected) in
        heard.iter_mut().zip([vec!["all"], vec!["one", "several", "all"], vec!["several", "all"]])
    {
        let mut payloads = Vec::new();
        wait_for(events, |event| {
            if let EventKind::MessageReceived { message, .. } = &event.kind {
                payloads.push(message.payload.to_string());
            }
            (payloads.last().map(String::as_str) == Some("all")).then_some(())
        })
        .await;
        assert_eq!(payloads, expected);
    }
}

pub(super) async fn m19_what_cannot_be_sent_is_refused(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let mut deaf = options(&*stage, "carol").await;
    deaf.enable_messages = false;
    let carol = stage.room(deaf);
    within(carol.connect()).await.expect("joins");
    meet(&[&alice, &bob, &carol]).await;
    let stranger = ParticipantId::from_random([9; 16]);
    for recipients in [vec![own_id(&bob), stranger], vec![own_id(&carol)]] {
        let error =
            within(alice.send_message(text("x"), Some(recipients))).await.expect_err("no such recipient");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    let long = "x".repeat(64 * 1024 + 1);
    let error = within(alice.send_message(text(&long), None)).await.expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    within(alice.send_message(text(&long[1..]), None)).await.expect("just as long as allowed");
}

pub(super) async fn m20_reports_come_at_once_and_again_and_name_streams_if_asked(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera: _camera, mut video, .. } = call(&*stage).await;
    read(&mut video, 120).await;
    let mut events = bob.events();
    let options = NetworkMetricsOptions { include_streams: true, interval: Duration::from_secs(1) };
    let about = vec![own_id(&alice), own_id(&bob)];
    let start = Instant::now();
    within(bob.enable_network_metrics_report(about, options)).await.expect("is accepted");
    let mut report = async || {
        wait_for(&mut events, |event| match &event.kind {
            EventKind::NetworkMetricsReport { metrics } => Some(metrics.clone()),
            _ => None,
        })
        .await
    };
    let first = report().await;
    assert!(start.elapsed() < Duration::from_millis(900), "the first comes at once");
    assert_eq!(first.len(), 2);
    report().await;
    assert!(start.elapsed() < Duration::from_secs(5), "and again every second");
    let mine = &first[&own_id(&bob)];
    let streams = mine.streams.as_ref().expect("asked for");
    assert!(streams.contains_key(&(own_id(&alice), key("camera"))), "{streams:?}");
}

pub(super) async fn m20_reports_come_every_five_seconds_unless_told_otherwise(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let mut events = bob.events();
    let options = NetworkMetricsOptions::default();
    within(bob.enable_network_metrics_report(vec![own_id(&alice)], options)).await.expect("is accepted");
    let first = named(&mut events, "network_metrics_report").await;
    let start = Instant::now();
    let EventKind::NetworkMetricsReport { metrics } = first.kind else { panic!("asked for by name") };
    assert!(metrics[&own_id(&alice)].streams.is_none(), "streams are not asked for");
    named(&mut events, "network_metrics_report").await;
    let between = start.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(7)).contains(&between), "{between:?}");
}

pub(super) async fn m20_every_level_of_sound_is_reached(venue: &dyn Venue) {
    reach_every_level(venue, MediaKind::Audio, [1.0, 0.4, 0.14, 0.08, 0.04, 0.0]).await;
}

pub(super) async fn m20_every_level_of_picture_is_reached(venue: &dyn Venue) {
    reach_every_level(venue, MediaKind::Video, [1.0, 0.4, 0.22, 0.12, 0.06, 0.0]).await;
}

/// * `losses`: the share of packets to be lost for each level, the worst first.
async fn reach_every_level(venue: &dyn Venue, kind: MediaKind, losses: [f64; Quality::ALL.len()]) {
    let stage = open(venue).await;
    let Call { alice, bob, camera: _camera, audio: _audio, video: _video } = call(&*stage).await;
    let mut events = bob.events();
    let options = NetworkMetricsOptions { include_streams: true, interval: Duration::from_secs(1) };
    within(bob.enable_network_metrics_report(vec![own_id(&alice)], options)).await.expect("is accepted");
    let stream = (own_id(&alice), key("camera"));
    for (level, loss) in Quality::ALL.into_iter().zip(losses).rev() {
        stage.lose_media(loss);
        wait_for(&mut events, |event| {
            let EventKind::NetworkMetricsReport { metrics } = &event.kind else { return None };
            let tracks = metrics.get(&own_id(&alice))?.streams.as_ref()?.get(&stream)?;
            let track = if kind == MediaKind::Audio { tracks.audio? } else { tracks.video? };
            (track.quality == level).then_some(())
        })
        .await;
    }
}

pub(super) async fn m21_reports_end_for_some_or_for_all(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let (a, b) = (own_id(&alice), own_id(&bob));
    let options =
        NetworkMetricsOptions { interval: Duration::from_secs(1), ..NetworkMetricsOptions::default() };
    let latest = Arc::<Mutex<Vec<Vec<ParticipantId>>>>::default();
    let reports = latest.clone();
    let _ = bob.on(EventName::NetworkMetricsReport, move |event| {
        if let EventKind::NetworkMetricsReport { metrics } = &event.kind {
            reports.lock().push(metrics.keys().copied().collect());
        }
    });
    within(bob.enable_network_metrics_report(vec![a, b], options)).await.expect("is accepted");
    eventually(|| latest.lock().last().is_some_and(|ids| ids.len() == 2)).await;
    within(bob.disable_network_metrics_report(Some(vec![b]))).await.expect("is accepted");
    eventually(|| latest.lock().last() == Some(&vec![a])).await;
    within(bob.disable_network_metrics_report(None)).await.expect("is accepted");
    let before = latest.lock().len();
    sleep(Duration::from_millis(1500)).await;
    assert_eq!(latest.lock().len(), before, "no more of them");
}
