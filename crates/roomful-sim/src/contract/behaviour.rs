//! How a room behaves: section 4 of the contract, and what it says of every call.

use std::time::{Duration, UNIX_EPOCH};

use futures_util::future::join_all;
use roomful::{
    Bitrate, Connection, DisconnectReason, ErrorKind, EventKind, MediaKind, RemoteTracks, Rid, Room, Status,
    SubscriptionConfig, Tracks, VideoTrackOptions,
};
use roomful_sfu::{DuplicateIdentity, ModerationRequest, Selection};
use roomful_types::Permissions;
use tokio::time::sleep;

use super::{
    StageConfig, Venue,
    events::{censor, subscribed_to_preference, these},
    stagehand::{
        Call, Camera, begin, call, eventually, hears_of, join, join_fragile, key, meet, named, names_until,
        negotiations, open, options, options_with, own_id, read, read_until, stands_still, subscribe,
        subscribe_with, text, two, wait_for, within,
    },
};
use crate::TokenRequest;

pub(super) async fn b01_nothing_comes_of_what_is_not_subscribed(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob: _bob, camera: _camera, mut video, .. } = call(&*stage).await;
    let carol = join(&*stage, "carol").await;
    hears_of(&carol, own_id(&alice), "camera").await;
    // Brings the media path up, and takes nothing.
    let nothing = SubscriptionConfig { audio: false, video: false, ..SubscriptionConfig::default() };
    subscribe_with(&carol, &alice, "camera", nothing).await;
    read(&mut video, 45).await;
    let before = carol.peer_stats().bytes_received;
    read(&mut video, 60).await;
    let received = carol.peer_stats().bytes_received - before;
    // Two seconds of the stream would be 190 kB; reports and checks of the path are a few hundred bytes.
    assert!(received < 10_000, "{received} bytes of nothing");
}

pub(super) async fn b01_paging_reuses_slots(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let cameras: Vec<Camera> = (0..6).map(|_| Camera::start()).collect();
    for (index, camera) in cameras.iter().enumerate() {
        camera.publish(&alice, &format!("page-{index}")).await;
    }
    subscribe(&bob, &alice, "page-0").await;
    let negotiated = negotiations(&bob).await;
    within(bob.remove_subscription(own_id(&alice), &key("page-0"))).await.expect("ends");
    for round in 0..3 {
        for (index, camera) in cameras.iter().enumerate().skip(round % 2).step_by(2) {
            let name = format!("page-{index}");
            let mut video = subscribe(&bob, &alice, &name).await.video.expect("asked for");
            read(&mut video, 3).await.iter().for_each(|frame| camera.check(frame));
            within(bob.remove_subscription(own_id(&alice), &key(&name))).await.expect("ends");
        }
    }
    assert_eq!(negotiations(&bob).await, negotiated, "slots are used again");
}

pub(super) async fn b01_a_page_is_turned_at_once_and_without_negotiation(venue: &dyn Venue) {
    const PAGE: usize = 6;
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let publisher = own_id(&alice);
    let name = |number: usize| key(&format!("stream-{number}"));
    for number in 0..2 * PAGE {
        within(alice.add_stream(&name(number), Tracks::default())).await.expect("publishes");
    }
    hears_of(&bob, publisher, &format!("stream-{}", 2 * PAGE - 1)).await;
    let add = async |number| {
        bob.add_subscription(publisher, &name(number), SubscriptionConfig::default()).await.map(drop)
    };
    let remove = async |number| bob.remove_subscription(publisher, &name(number)).await;
    within(join_all((0..PAGE).map(add))).await.into_iter().for_each(|added| added.expect("subscribes"));
    let negotiated = negotiations(&bob).await;
    for page in [0, PAGE, 0] {
        // All at once, nothing waits for anything.
        let removing = join_all((page..page + PAGE).map(remove));
        let adding = join_all((PAGE - page..2 * PAGE - page).map(add));
        let (removed, added) = within(async { tokio::join!(removing, adding) }).await;
        removed.into_iter().for_each(|removed| removed.expect("ends"));
        added.into_iter().for_each(|added| added.expect("subscribes"));
        let state = bob.state();
        assert_eq!(state.subscriptions().len(), PAGE);
        assert!(state.subscriptions().all(|one| !(page..page + PAGE).any(|gone| name(gone) == one.key)));
    }
    assert_eq!(negotiations(&bob).await, negotiated, "slots are handed over");
}

pub(super) async fn b02_mute_keeps_the_subscription_and_sends_nothing(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, mut video, camera: _camera, .. } = call(&*stage).await;
    let mute = roomful::TracksUpdate { audio: roomful::TrackUpdate::Mute, ..Default::default() };
    let mut events = bob.events();
    within(alice.update_stream(&key("camera"), mute)).await.expect("mutes");
    named(&mut events, "track_disabled").await;
    read(&mut video, 10).await;
    let stats =
        async || within(bob.webrtc_stats_for_stream(own_id(&alice), &key("camera"))).await.expect("there");
    let before = stats().await.receivers.audio.expect("still subscribed").packets_received;
    read(&mut video, 30).await;
    let after = stats().await.receivers.audio.expect("still subscribed").packets_received;
    assert_eq!(before, after, "no placeholder media");
    assert!(bob.state().subscription(own_id(&alice), &key("camera")).expect("there").audio);
}

pub(super) async fn b03_censored_media_reaches_nobody_though_it_is_sent(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera, mut audio, video } = call(&*stage).await;
    let mut events = bob.events();
    censor(&*stage, these(&[&alice]), MediaKind::Video, true).await;
    named(&mut events, "track_censored").await;
    // What was under way at the decision is here by now.
    read(&mut audio, 15).await;
    stands_still(|| video.report().frames_received).await;
    assert!(camera.flows(MediaKind::Video, Rid::High), "the client goes on sending");
    read(&mut audio, 10).await;
    let mut video = video;
    censor(&*stage, these(&[&alice]), MediaKind::Video, false).await;
    read_until(&mut video, |frame| frame.is_keyframe).await;
    read(&mut video, 5).await;
}

pub(super) async fn b03_lifting_does_not_unmute_and_late_joiners_see_both_flags(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera: _camera, .. } = call(&*stage).await;
    let mute = roomful::TracksUpdate { audio: roomful::TrackUpdate::Mute, ..Default::default() };
    within(alice.update_stream(&key("camera"), mute)).await.expect("mutes");
    censor(&*stage, these(&[&alice]), MediaKind::Audio, true).await;
    let carol = join(&*stage, "carol").await;
    let stream = carol.participant_stream(own_id(&alice), &key("camera")).expect("in the first state");
    assert!(stream.is_audio_censored && !stream.is_audio_enabled);
    let mut events = bob.events();
    censor(&*stage, these(&[&alice]), MediaKind::Audio, false).await;
    let told = named(&mut events, "track_uncensored").await;
    let stream = told.state.participant_stream(own_id(&alice), &key("camera")).expect("there").clone();
    assert!(!stream.is_audio_censored && !stream.is_audio_enabled, "muted by oneself still");
}

pub(super) async fn b03_one_stream_is_censored_or_all_but_some(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let cameras = [Camera::start(), Camera::start(), Camera::start()];
    for (camera, name) in cameras.iter().zip(["camera", "screen"]) {
        camera.publish(&alice, name).await;
        hears_of(&bob, own_id(&alice), name).await;
    }
    cameras[2].publish(&bob, "own").await;
    hears_of(&alice, own_id(&bob), "own").await;
    let censored = |room: &Room, publisher: &Room, name: &str| {
        let stream = room.participant_stream(own_id(publisher), &key(name)).expect("there");
        (stream.is_audio_censored, stream.is_video_censored)
    };
    let censoring = |who, stream: Option<&str>, kind| ModerationRequest::Censor {
        who,
        stream: stream.map(key),
        kind,
        censored: true,
    };
    let mut events = bob.events();
    within(stage.moderate(censoring(these(&[&alice]), Some("screen"), MediaKind::Video))).await;
    named(&mut events, "track_censored").await;
    assert_eq!(censored(&bob, &alice, "screen"), (false, true));
    assert_eq!(censored(&bob, &alice, "camera"), (false, false));
    let all_but_alice = Selection::AllBut([own_id(&alice)].into());
    within(stage.moderate(censoring(all_but_alice, None, MediaKind::Audio))).await;
    named(&mut events, "track_censored").await;
    assert_eq!(censored(&bob, &bob, "own"), (true, false));
    assert_eq!(censored(&bob, &alice, "camera"), (false, false));
}

pub(super) async fn b03_no_other_stay_of_the_same_grants_is_heard(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (first, second) = (
        stage.token(TokenRequest::default()).await.access,
        stage.token(TokenRequest::default()).await.access,
    );
    let room = |token: &str| stage.room(stage.options(token.to_owned()));
    // What moderators decide lasts as long as somebody is there.
    let _bob = join(&*stage, "bob").await;
    let alice = room(&first);
    within(alice.connect()).await.expect("joins");
    within(alice.update_client_token(second.clone())).await.expect("is as good");
    censor(&*stage, these(&[&alice]), MediaKind::Audio, true).await;
    let camera = Camera::start();
    // While the first stay lasts, and after it; with the token that it began with, and with the one that it had at the end.
    for (index, (token, is_over)) in
        [(&second, false), (&first, true), (&second, true)].into_iter().enumerate()
    {
        if is_over {
            within(alice.disconnect()).await.expect("leaves");
        }
        let again = room(token);
        within(again.connect()).await.expect("joins");
        let tracks = Tracks { audio: camera.tracks.audio.clone(), video: None };
        let name = key(&format!("again-{index}"));
        within(again.add_stream(&name, tracks)).await.expect("publishes");
        assert!(again.local_streams()[&name].is_audio_censored, "{index}");
        within(again.disconnect()).await.expect("leaves");
    }
}

pub(super) async fn b04_a_preference_is_followed_and_unused_encodings_pause(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let camera = Camera::start_with(VideoTrackOptions { simulcast: true });
    camera.publish(&alice, "camera").await;
    let mut video = subscribed_to_preference(&bob, &alice, Rid::Medium).await.video.expect("asked for");
    let frames = read(&mut video, 10).await;
    assert!(frames.iter().all(|frame| Camera::is_of(frame, Rid::Medium)));
    assert!(!camera.flows(MediaKind::Video, Rid::High) && !camera.flows(MediaKind::Video, Rid::Low));
    let config = SubscriptionConfig { preferred_layer: Some(Rid::High), ..SubscriptionConfig::default() };
    within(bob.update_subscription(own_id(&alice), &key("camera"), config)).await.expect("updates");
    let mut frames = Vec::new();
    within(async {
        while frames.last().is_none_or(|frame| !Camera::is_of(frame, Rid::High)) {
            frames.push(video.recv().await.expect("the subscription lasts"));
        }
    })
    .await;
    assert!(frames.last().is_some_and(|frame| frame.is_keyframe), "switches happen on key frames");
    frames.extend(read(&mut video, 10).await);
    assert!(frames.windows(2).all(|pair| pair[0].media_time < pair[1].media_time), "no step back");
    assert!(frames.iter().all(|frame| frame.packets_lost == 0), "no gap");
    eventually(|| !camera.flows(MediaKind::Video, Rid::Medium)).await;
}

pub(super) async fn b04_what_may_be_received_decides_and_sound_comes_first(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    let camera = Camera::start_with(VideoTrackOptions { simulcast: true });
    camera.publish(&alice, "camera").await;
    // Room for sound and for the medium picture, but not for the large one; then for sound alone.
    for (kbps, name) in [(520, "bob"), (64, "carol")] {
        let mut options = options(&*stage, name).await;
        options.max_receive_bitrate = Some(Bitrate::from_kbps(kbps));
        let room = stage.room(options);
        within(room.connect()).await.expect("joins");
        let mut events = room.events();
        let RemoteTracks { audio, video } = subscribe(&room, &alice, "camera").await;
        let (mut audio, mut video) = (audio.expect("asked for"), video.expect("asked for"));
        if kbps == 64 {
            let told = named(&mut events, "subscription_paused").await;
            assert!(told.state.subscription(own_id(&alice), &key("camera")).expect("there").is_paused);
        } else {
            within(async {
                while !Camera::is_of(&video.recv().await.expect("the subscription lasts"), Rid::Medium) {}
            })
            .await;
            let frames = read(&mut video, 60).await;
            assert!(frames.iter().all(|frame| Camera::is_of(frame, Rid::Medium)));
        }
        let frames = read(&mut audio, 60).await;
        assert!(frames.iter().all(|frame| frame.packets_lost == 0), "sound is never starved");
    }
}

pub(super) async fn b04_no_frame_shows_under_another_name(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let cameras = [Camera::start(), Camera::start(), Camera::start()];
    for (index, camera) in cameras.iter().enumerate() {
        camera.publish(&alice, &format!("camera-{index}")).await;
    }
    for round in 0..6 {
        let camera = &cameras[round % 3];
        let name = format!("camera-{}", round % 3);
        let RemoteTracks { audio, video } = subscribe(&bob, &alice, &name).await;
        let (mut audio, mut video) = (audio.expect("asked for"), video.expect("asked for"));
        read(&mut video, 4).await.iter().for_each(|frame| camera.check(frame));
        read(&mut audio, 4).await.iter().for_each(|frame| camera.check(frame));
        within(bob.remove_subscription(own_id(&alice), &key(&name))).await.expect("ends");
    }
}

pub(super) async fn b04_sound_and_picture_stay_in_step(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice: _alice, bob: _bob, camera: _camera, mut audio, mut video } = call(&*stage).await;
    let mut offsets = Vec::new();
    for track in [&mut audio, &mut video] {
        // Capture times are known once the publisher has reported, and the server after it.
        let frames = read(track, 60).await;
        let known = frames.iter().filter_map(|frame| {
            let captured = frame.captured_at?.duration_since(UNIX_EPOCH).expect("after 1970");
            Some(captured.as_secs_f64() - Camera::written_at(frame).as_secs_f64())
        });
        offsets.extend(known);
        assert!(frames.last().is_some_and(|frame| frame.captured_at.is_some()));
    }
    let most = offsets.iter().copied().fold(f64::MIN, f64::max);
    let least = offsets.iter().copied().fold(f64::MAX, f64::min);
    assert!(most - least <= 0.045, "a skew of {} s", most - least);
}

pub(super) async fn b05_speech_is_heard_from_the_levels(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice, bob, camera, mut audio, .. } = call(&*stage).await;
    let mut events = bob.events();
    // A quiet room is no speech.
    camera.set_level(80);
    read(&mut audio, 60).await;
    assert!(!bob.state().is_speaking(own_id(&alice)));
    camera.set_level(20);
    named(&mut events, "audio_activity").await;
    // Who comes while it goes on knows.
    let carol = join(&*stage, "carol").await;
    eventually(|| carol.state().is_speaking(own_id(&alice))).await;
    // Who is censored is not heard, and so does not speak.
    censor(&*stage, these(&[&alice]), MediaKind::Audio, true).await;
    named(&mut events, "audio_activity_ended").await;
}

pub(super) async fn b05_whoever_speaks_is_heard_of_though_nobody_takes_it(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let mut events = bob.events();
    let camera = Camera::start();
    camera.publish(&alice, "camera").await;
    camera.set_level(20);
    named(&mut events, "audio_activity").await;
    eventually(|| bob.state().dominant_speaker() == Some(own_id(&alice))).await;
    camera.set_level(80);
    named(&mut events, "audio_activity_ended").await;
    assert_eq!(bob.state().subscriptions().len(), 0);
}

pub(super) async fn b06_a_short_loss_keeps_everything(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    let bob = join_fragile(&*stage, "bob", |_| {}).await;
    meet(&[&alice, &bob]).await;
    within(bob.add_stream(&key("own"), Tracks::default())).await.expect("publishes");
    let Call { alice, bob, camera, mut video, .. } = begin(alice, bob).await;
    let (mut events, before) = (bob.events(), own_id(&bob));
    stage.cut();
    named(&mut events, "reconnecting").await;
    // A call that is made meanwhile waits for the connection.
    let asking = tokio::spawn({
        let bob = bob.clone();
        async move { bob.send_message(text("made meanwhile"), None).await }
    });
    sleep(Duration::from_millis(300)).await;
    stage.mend();
    named(&mut events, "reconnected").await;
    within(asking).await.expect("no panic").expect("is accepted");
    assert_eq!(own_id(&bob), before);
    assert!(bob.local_streams().contains_key(&key("own")));
    assert!(bob.state().subscription(own_id(&alice), &key("camera")).is_some());
    read(&mut video, 30).await.iter().for_each(|frame| camera.check(frame));
}

pub(super) async fn b06_a_long_loss_ends_the_stay(venue: &dyn Venue) {
    let mut config = StageConfig::default();
    config.sfu.resume_window = Duration::from_millis(1500);
    let stage = venue.open(config).await;
    let bob = join_fragile(&*stage, "bob", |_| {}).await;
    let mut events = bob.events();
    stage.cut();
    assert_eq!(names_until(&mut events, "disconnected").await, ["reconnecting", "disconnected"]);
    assert_eq!(bob.state().disconnect_reason(), Some(DisconnectReason::NetworkError));
    stage.mend();
    within(bob.connect()).await.expect("joins anew");
}

pub(super) async fn b06_a_loss_in_which_too_much_was_said_ends_the_stay(venue: &dyn Venue) {
    let mut config = StageConfig::default();
    config.sfu.resume_buffer = 4096;
    let stage = venue.open(config).await;
    let alice = join(&*stage, "alice").await;
    let bob = join_fragile(&*stage, "bob", |_| {}).await;
    meet(&[&alice, &bob]).await;
    let (mut events, before) = (bob.events(), own_id(&bob));
    // What fits is told when the connection is back.
    stage.cut();
    named(&mut events, "reconnecting").await;
    within(alice.send_message(text("short"), None)).await.expect("is accepted");
    stage.mend();
    wait_for(&mut events, |event| {
        let EventKind::MessageReceived { message, .. } = &event.kind else { return None };
        (&*message.payload == "short").then_some(())
    })
    .await;
    // What does not is not left out in silence: the stay is over.
    stage.cut();
    named(&mut events, "reconnecting").await;
    for number in 0..8 {
        let long = format!("{number} {}", "a".repeat(1000));
        within(alice.send_message(text(&long), None)).await.expect("is accepted");
    }
    stage.mend();
    let names = names_until(&mut events, "disconnected").await;
    assert!(!names.contains(&"message_received") && !names.contains(&"reconnected"), "{names:?}");
    assert_eq!(bob.state().disconnect_reason(), Some(DisconnectReason::NetworkError));
    within(bob.connect()).await.expect("joins anew");
    assert_ne!(own_id(&bob), before);
}

pub(super) async fn b06_whoever_is_kicked_while_away_hears_it(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    let bob = join_fragile(&*stage, "bob", |_| {}).await;
    meet(&[&alice, &bob]).await;
    let mut events = bob.events();
    stage.cut();
    named(&mut events, "reconnecting").await;
    within(stage.moderate(ModerationRequest::Kick(these(&[&bob])))).await;
    meet(&[&alice]).await;
    stage.mend();
    named(&mut events, "disconnected").await;
    assert_eq!(bob.state().disconnect_reason(), Some(DisconnectReason::Kicked));
}

pub(super) async fn b06_whoever_is_away_when_the_session_ends_hears_it(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    let bob = join_fragile(&*stage, "bob", |_| {}).await;
    meet(&[&alice, &bob]).await;
    let (mut of_alice, mut of_bob) = (alice.events(), bob.events());
    stage.cut();
    named(&mut of_bob, "reconnecting").await;
    within(stage.moderate(ModerationRequest::EndSession)).await;
    named(&mut of_alice, "disconnected").await;
    stage.mend();
    named(&mut of_bob, "disconnected").await;
    assert_eq!(bob.state().disconnect_reason(), Some(DisconnectReason::SessionEnded));
}

pub(super) async fn b06_media_goes_on_from_another_address_after_a_loss(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    let bob = join_fragile(&*stage, "bob", |_| {}).await;
    meet(&[&alice, &bob]).await;
    let Call { alice: _alice, bob, camera, mut video, .. } = begin(alice, bob).await;
    let mut events = bob.events();
    stage.cut();
    stage.roam();
    named(&mut events, "reconnecting").await;
    stage.mend();
    named(&mut events, "reconnected").await;
    let before = read(&mut video, 1).await[0].media_time;
    within(async {
        while video.recv().await.expect("the subscription lasts").media_time < before + Duration::from_secs(2)
        {
        }
    })
    .await;
    read(&mut video, 30).await.iter().for_each(|frame| camera.check(frame));
}

pub(super) async fn b06_media_follows_another_address(venue: &dyn Venue) {
    let stage = open(venue).await;
    let Call { alice: _alice, bob, camera, mut video, .. } = call(&*stage).await;
    stage.roam();
    // What was sent to the old address is lost; then a path to the new one is found.
    let before = read(&mut video, 1).await[0].media_time;
    within(async {
        while video.recv().await.expect("the subscription lasts").media_time < before + Duration::from_secs(1)
        {
        }
    })
    .await;
    read(&mut video, 30).await.iter().for_each(|frame| camera.check(frame));
    assert_eq!(bob.state().connection(), Connection::Stable);
}

pub(super) async fn b07_a_token_that_ends_ends_the_stay(venue: &dyn Venue) {
    let stage = open(venue).await;
    let request = TokenRequest { life: Duration::from_secs(10), ..TokenRequest::default() };
    let token = stage.token(request).await.access;
    let alice = stage.room(stage.options(token));
    let mut events = alice.events();
    within(alice.connect()).await.expect("joins");
    let names = names_until(&mut events, "disconnected").await;
    assert_eq!(names, ["connected", "token_expiring", "disconnected"]);
    assert_eq!(alice.state().disconnect_reason(), Some(DisconnectReason::Unauthorized));
    let error = within(alice.connect()).await.expect_err("the token has ended");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
}

pub(super) async fn b07_a_refresh_token_opens_no_door(venue: &dyn Venue) {
    let stage = open(venue).await;
    let pair = stage.token(TokenRequest::default()).await;
    let room = stage.room(stage.options(pair.refresh));
    let error = within(room.connect()).await.expect_err("no access token");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert_eq!(stage.refresh(&pair.access, Duration::from_secs(60)).await, None, "nor the other way round");
}

pub(super) async fn b07_who_is_kicked_gets_back_with_nothing_of_the_same(venue: &dyn Venue) {
    let stage = open(venue).await;
    let _alice = join(&*stage, "alice").await;
    let request = TokenRequest { identity: Some("bob".to_owned()), ..TokenRequest::default() };
    let pair = stage.token(request).await;
    let bob = stage.room(stage.options(pair.access));
    within(bob.connect()).await.expect("joins");
    let mut events = bob.events();
    within(stage.moderate(ModerationRequest::Kick(these(&[&bob])))).await;
    named(&mut events, "disconnected").await;
    let refused = async |room: Room| {
        let error = within(room.connect()).await.expect_err("is kept out");
        assert_eq!(error.kind(), ErrorKind::Forbidden);
        assert_eq!(room.state().disconnect_reason(), Some(DisconnectReason::Kicked));
    };
    refused(bob).await;
    let newer =
        stage.refresh(&pair.refresh, Duration::from_secs(60)).await.expect("tokens know no rooms' sessions");
    refused(stage.room(stage.options(newer))).await;
    refused(stage.room(options(&*stage, "bob").await)).await;
    // Somebody else gets in.
    join(&*stage, "carol").await;
}

pub(super) async fn b07_who_is_kicked_gets_back_with_no_grant_of_the_stay(venue: &dyn Venue) {
    let stage = open(venue).await;
    let _alice = join(&*stage, "alice").await;
    let nameless = async || stage.token(TokenRequest::default()).await;
    let (first, second) = (nameless().await, nameless().await);
    let bob = stage.room(stage.options(first.access.clone()));
    within(bob.connect()).await.expect("joins");
    within(bob.update_client_token(second.access.clone())).await.expect("is as good");
    let mut events = bob.events();
    within(stage.moderate(ModerationRequest::Kick(these(&[&bob])))).await;
    named(&mut events, "disconnected").await;
    let life = Duration::from_secs(60);
    let newer = stage.refresh(&first.refresh, life).await.expect("tokens know no rooms' sessions");
    for token in [first.access, second.access, newer] {
        let error = within(stage.room(stage.options(token)).connect()).await.expect_err("is kept out");
        assert_eq!(error.kind(), ErrorKind::Forbidden);
    }
    // Nobody has a name, so only the grants were barred.
    let carol = stage.room(stage.options(nameless().await.access));
    within(carol.connect()).await.expect("joins");
}

pub(super) async fn b07_permissions_hold(venue: &dyn Venue) {
    let stage = open(venue).await;
    let alice = join(&*stage, "alice").await;
    within(alice.add_stream(&key("camera"), Tracks::default())).await.expect("publishes");
    let nothing = Permissions { publish: false, subscribe: false, message: false, moderate: false };
    let guest = options_with(&*stage, TokenRequest { permissions: nothing, ..TokenRequest::default() }).await;
    let guest = stage.room(guest);
    within(guest.connect()).await.expect("joins");
    let publishing = within(guest.add_stream(&key("x"), Tracks::default())).await.map(drop);
    let config = SubscriptionConfig::default();
    let subscribing = within(guest.add_subscription(own_id(&alice), &key("camera"), config)).await.map(drop);
    let talking = within(guest.send_message(text("x"), None)).await;
    for result in [publishing, subscribing, talking] {
        assert_eq!(result.expect_err("not permitted").kind(), ErrorKind::Forbidden);
    }
}

pub(super) async fn b08_a_full_room_refuses_and_nobody_else_notices(venue: &dyn Venue) {
    let stage = venue.open(StageConfig { max_participants: 2, ..StageConfig::default() }).await;
    let (alice, bob) = two(&*stage).await;
    let mut events = alice.events();
    let carol = stage.room(options(&*stage, "carol").await);
    let error = within(carol.connect()).await.expect_err("is full");
    assert_eq!(error.kind(), ErrorKind::LimitReached);
    assert_eq!(carol.state().disconnect_reason(), Some(DisconnectReason::RoomFull));
    within(bob.send_message(text("nothing happened"), None)).await.expect("is accepted");
    assert_eq!(names_until(&mut events, "message_received").await, ["message_received"]);
    within(bob.disconnect()).await.expect("leaves");
    within(carol.connect()).await.expect("there is room now");
}

pub(super) async fn b08_too_many_streams_are_refused(venue: &dyn Venue) {
    let mut config = StageConfig::default();
    config.sfu.max_streams_per_participant = 2;
    let stage = venue.open(config).await;
    let alice = join(&*stage, "alice").await;
    for name in ["one", "two"] {
        within(alice.add_stream(&key(name), Tracks::default())).await.expect("publishes");
    }
    let error = within(alice.add_stream(&key("three"), Tracks::default())).await.expect_err("one too many");
    assert_eq!(error.kind(), ErrorKind::LimitReached);
    within(alice.remove_stream(&key("one"))).await.expect("removes");
    within(alice.add_stream(&key("three"), Tracks::default())).await.expect("there is room now");
}

pub(super) async fn b08_messages_are_limited_in_size_and_rate(venue: &dyn Venue) {
    let mut config = StageConfig::default();
    config.sfu.max_message_bytes = 10;
    (config.sfu.messages_per_second, config.sfu.message_burst) = (1, 4);
    let stage = venue.open(config).await;
    let (alice, bob) = two(&*stage).await;
    let mut events = bob.events();
    let error = within(alice.send_message(text("01234567890"), None)).await.expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let mut accepted = 0;
    let error = loop {
        match within(alice.send_message(text("0123456789"), None)).await {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 100, "there is a limit");
    };
    assert_eq!(error.kind(), ErrorKind::LimitReached);
    assert!(error.is_retryable(), "and waiting helps");
    within(bob.send_message(text("bob"), None)).await.expect("nobody else is concerned");
    let mut heard = 0;
    wait_for(&mut events, |event| {
        let EventKind::MessageReceived { sender, .. } = event.kind else { return None };
        heard += usize::from(sender == own_id(&alice));
        (sender == own_id(&bob)).then_some(())
    })
    .await;
    assert_eq!(heard, accepted, "what was accepted arrives, what was not does not");
    sleep(Duration::from_millis(1500)).await;
    within(alice.send_message(text("again"), None)).await.expect("there is room now");
}

pub(super) async fn b08_requests_are_limited_in_rate(venue: &dyn Venue) {
    let mut config = StageConfig::default();
    (config.sfu.requests_per_second, config.sfu.request_burst) = (1, 33);
    let stage = venue.open(config).await;
    let (alice, bob) = two(&*stage).await;
    let mut attempts = 0;
    let error = loop {
        let name = key(&format!("stream-{attempts}"));
        if let Err(error) = within(alice.add_stream(&name, Tracks::default())).await {
            break error;
        }
        if let Err(error) = within(alice.remove_stream(&name)).await {
            break error;
        }
        attempts += 1;
        assert!(attempts < 100, "there is a limit");
    };
    assert_eq!(error.kind(), ErrorKind::LimitReached);
    within(bob.send_message(text("bob"), None)).await.expect("nobody else is concerned");
    assert_eq!(alice.state().status(), Status::Connected);
}

pub(super) async fn b09_a_dropped_call_leaves_nothing_behind(venue: &dyn Venue) {
    let stage = open(venue).await;
    let (alice, bob) = two(&*stage).await;
    let camera = Camera::start();
    // Dropped after every number of polls: before it is sent, on its way, and after its answer.
    for wait in [0, 1, 3, 6, 10, 20, 40] {
        let dropped = key("dropped");
        let adding = alice.add_stream(&dropped, camera.tracks.clone());
        if matches!(tokio::time::timeout(Duration::from_millis(wait), adding).await, Ok(Ok(_))) {
            within(alice.remove_stream(&dropped)).await.expect("was there");
        }
        let alice_now = alice.clone();
        eventually(move || alice_now.local_streams().is_empty()).await;
    }
    let publisher = own_id(&alice);
    eventually(|| bob.participant_streams(publisher).is_empty()).await;
    camera.publish(&alice, "dropped").await;
    for wait in [0, 1, 3, 6, 10, 20, 40] {
        hears_of(&bob, publisher, "dropped").await;
        let dropped = key("dropped");
        let adding = bob.add_subscription(publisher, &dropped, SubscriptionConfig::default());
        if matches!(tokio::time::timeout(Duration::from_millis(wait), adding).await, Ok(Ok(_))) {
            within(bob.remove_subscription(publisher, &dropped)).await.expect("was there");
        }
        let bob_now = bob.clone();
        eventually(move || bob_now.state().subscriptions().len() == 0).await;
    }
    eventually(|| !camera.flows(MediaKind::Video, Rid::High)).await;
    let mut video = subscribe(&bob, &alice, "dropped").await.video.expect("asked for");
    read(&mut video, 5).await;
}

pub(super) async fn b09_every_call_settles_when_the_server_is_gone(venue: &dyn Venue) {
    let stage = open(venue).await;
    let bob = join_fragile(&*stage, "bob", |options| {
        options.request_timeout = Duration::from_secs(2);
        options.reconnect_timeout = Duration::from_secs(6);
    })
    .await;
    within(stage.kill()).await;
    let mut events = bob.events();
    let stranger = roomful::ParticipantId::from_random([9; 16]);
    let (camera, config) = (key("camera"), SubscriptionConfig::default());
    let publishing =
        async { within(bob.add_stream(&camera, Tracks::default())).await.expect_err("nobody answers") };
    let talking = async { within(bob.send_message(text("x"), None)).await.expect_err("nobody answers") };
    let subscribing = async {
        within(bob.add_subscription(stranger, &camera, config)).await.map(drop).expect_err("unknown")
    };
    let updating = async { within(bob.update_client_token("x")).await.expect_err("nobody answers") };
    tokio::join!(publishing, talking, subscribing, updating);
    named(&mut events, "disconnected").await;
    assert_eq!(bob.state().disconnect_reason(), Some(DisconnectReason::NetworkError));
    within(bob.connect()).await.expect_err("nobody is there");
    within(bob.disconnect()).await.expect("there is nothing to leave");
    assert_eq!(bob.state().status(), Status::Disconnected);
}

pub(super) async fn b10_whoever_is_replaced_while_away_hears_it(venue: &dyn Venue) {
    let stage = open(venue).await;
    let first = join_fragile(&*stage, "twin", |_| {}).await;
    let mut events = first.events();
    stage.cut();
    // The server may not know yet that the connection is lost.
    let second = join(&*stage, "twin").await;
    stage.mend();
    named(&mut events, "disconnected").await;
    assert_eq!(first.state().disconnect_reason(), Some(DisconnectReason::DuplicateIdentity));
    assert_eq!(second.state().connection(), Connection::Stable);
}

pub(super) async fn b10_a_duplicate_identity_replaces_is_refused_or_allowed(venue: &dyn Venue) {
    for policy in [DuplicateIdentity::Replace, DuplicateIdentity::Refuse, DuplicateIdentity::Allow] {
        let mut config = StageConfig::default();
        config.sfu.duplicate_identity = policy;
        let stage = venue.open(config).await;
        let first = join(&*stage, "twin").await;
        let mut events = first.events();
        let second = stage.room(options(&*stage, "twin").await);
        let joined = within(second.connect()).await;
        match policy {
            DuplicateIdentity::Replace => {
                joined.expect("the newer one is in");
                let told = named(&mut events, "disconnected").await;
                let reason = DisconnectReason::DuplicateIdentity;
                assert_eq!(told.kind, EventKind::Disconnected { reason });
            }
            DuplicateIdentity::Refuse => {
                assert_eq!(joined.expect_err("is refused").kind(), ErrorKind::Forbidden);
                assert_eq!(first.state().connection(), Connection::Stable);
            }
            DuplicateIdentity::Allow => {
                joined.expect("both are in");
                meet(&[&first, &second]).await;
            }
        }
    }
}
