//! The Room contract as scenarios, told once and run on every server: on virtual time and over real sockets.
//!
//! `docs/contract.md` lists the rows. A scenario is named by the row that it proves, `m09_…`; a row may have several.

mod behaviour;
mod events;
mod methods;
mod readings;
mod stagehand;
mod venue;

use std::sync::Arc;

pub use venue::{FakeVenue, Stage, StageConfig, TokenPair, Venue, Wait};

/// One scenario: fails by a panic.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Its name; what stands before the first underscore is its row.
    pub name: &'static str,
    /// Plays it.
    pub run: fn(Arc<dyn Venue>) -> Wait<'static, ()>,
}

impl Scenario {
    /// Returns the row that it proves, for example `M09`.
    #[must_use]
    pub fn row(&self) -> String {
        self.name.split('_').next().unwrap_or_default().to_uppercase()
    }
}

macro_rules! scenarios {
    ($($module:ident: $($name:ident)*;)*) => {
        /// Every scenario there is.
        pub const SCENARIOS: &[Scenario] = &[$($(Scenario {
            name: stringify!($name),
            run: |venue| Box::pin(async move { $module::$name(&*venue).await }),
        },)*)*];
    };
}

scenarios! {
    methods:
        m01_id_is_that_of_the_room
        m02_listeners_are_called_in_order_and_not_after_unsubscribing
        m02_a_panicking_listener_harms_nobody_else
        m02_a_slow_reader_is_told_what_it_missed
        m03_connecting_is_seen_and_everything_that_was_there_is_in_the_state
        m03_media_that_cannot_get_through_is_an_error_of_its_own
        m03_a_subscription_whose_media_cannot_get_through_says_so
        m04_disconnecting_is_seen_by_both_sides_and_the_room_can_connect_again
        m04_leaving_is_bounded_on_a_dead_network
        m05_a_stay_outlives_its_first_token
        m05_a_bad_new_token_is_an_error_and_the_old_one_stays_in_force
        m05_a_bad_new_token_does_not_put_the_end_off
        m06_an_old_snapshot_never_changes
        m07_the_local_participant_is_local
        m08_local_streams_are_ones_own_by_key
        m09_add_stream_takes_audio_video_both_or_none
        m09_add_stream_refuses_a_key_in_use
        m09_add_stream_refuses_a_key_in_use_also_in_a_race
        m10_three_encodings_leave_the_publisher
        m11_a_muted_track_is_unmuted_without_a_new_subscription
        m11_a_track_is_replaced
        m11_an_unknown_key_is_refused
        m12_a_removed_stream_is_gone_for_all_and_its_media_stops
        m13_tracks_are_in_the_state_and_flags_hold
        m13_each_mistake_has_an_error_of_its_own
        m14_flags_pause_and_preference_change_without_renegotiation
        m15_a_subscription_ends_and_can_be_made_again
        m16_streams_of_a_participant_are_a_map_by_key
        m17_a_stream_of_a_participant_or_none
        m18_own_streams_have_senders_subscribed_ones_receivers_others_nothing
        m18_losses_repairs_levels_and_delays_are_counted
        m19_messages_reach_one_several_or_all
        m19_what_cannot_be_sent_is_refused
        m20_reports_come_at_once_and_again_and_name_streams_if_asked
        m20_reports_come_every_five_seconds_unless_told_otherwise
        m20_every_level_of_sound_is_reached
        m20_every_level_of_picture_is_reached
        m21_reports_end_for_some_or_for_all;
    events:
        v01_every_change_comes_with_the_state_after_it
        v02_connected_comes_once
        v03_disconnected_has_the_true_reason
        v04_others_that_join_are_told_oneself_is_not
        v05_whoever_leaves_is_told_with_the_reason_if_kicked
        v06_left_comes_last
        v07_published_is_told_to_both_sides
        v08_unpublished_is_told_to_both_sides
        v09_enabled_names_the_kind
        v10_disabled_names_the_kind
        v11_censored_is_told_for_both_kinds
        v12_uncensored_comes_after_censored
        v13_activity_names_the_stream
        v14_a_subscription_starts_once
        v15_a_subscription_is_reconfigured
        v16_a_subscription_ends_with_its_stream_and_with_its_publisher
        v17_a_message_has_sender_text_and_recipients
        v18_reports_are_about_those_chosen
        e01_a_lost_connection_is_told
        e02_a_connection_that_is_back_is_told
        e03_a_token_that_ends_is_told_before
        e04_the_end_of_activity_is_told
        e05_the_dominant_speaker_is_told
        e06_another_encoding_is_told
        e07_a_pause_is_told
        e08_its_end_is_told
        e09_a_stream_that_gets_worse_is_told
        e10_a_lost_media_path_is_told
        o01_leaving_has_its_order
        o02_being_kicked_has_its_order
        o03_what_was_there_before_is_not_told
        o04_a_resumed_stay_is_told_the_differences_once
        o04_whoever_was_kicked_meanwhile_is_told_as_kicked;
    behaviour:
        b01_nothing_comes_of_what_is_not_subscribed
        b01_paging_reuses_slots
        b01_a_page_is_turned_at_once_and_without_negotiation
        b02_mute_keeps_the_subscription_and_sends_nothing
        b03_censored_media_reaches_nobody_though_it_is_sent
        b03_lifting_does_not_unmute_and_late_joiners_see_both_flags
        b03_one_stream_is_censored_or_all_but_some
        b03_no_other_stay_of_the_same_grants_is_heard
        b04_a_preference_is_followed_and_unused_encodings_pause
        b04_what_may_be_received_decides_and_sound_comes_first
        b04_no_frame_shows_under_another_name
        b04_sound_and_picture_stay_in_step
        b05_speech_is_heard_from_the_levels
        b05_whoever_speaks_is_heard_of_though_nobody_takes_it
        b06_a_short_loss_keeps_everything
        b06_a_long_loss_ends_the_stay
        b06_a_loss_in_which_too_much_was_said_ends_the_stay
        b06_whoever_is_kicked_while_away_hears_it
        b06_whoever_is_away_when_the_session_ends_hears_it
        b06_media_follows_another_address
        b06_media_goes_on_from_another_address_after_a_loss
        b07_a_token_that_ends_ends_the_stay
        b07_a_refresh_token_opens_no_door
        b07_who_is_kicked_gets_back_with_nothing_of_the_same
        b07_who_is_kicked_gets_back_with_no_grant_of_the_stay
        b07_permissions_hold
        b08_a_full_room_refuses_and_nobody_else_notices
        b08_too_many_streams_are_refused
        b08_messages_are_limited_in_size_and_rate
        b08_requests_are_limited_in_rate
        b09_a_dropped_call_leaves_nothing_behind
        b09_every_call_settles_when_the_server_is_gone
        b10_a_duplicate_identity_replaces_is_refused_or_allowed
        b10_whoever_is_replaced_while_away_hears_it;
    readings:
        r01_disconnected_carries_reason_and_state
        r02_disconnecting_is_entered
        r03_states_are_maps_by_id
        r04_a_broadcast_has_no_recipients
        r05_a_broadcast_comes_back_once
        r06_leaving_fires_for_any_leave
        r07_subscription_changes_are_in_the_state
        r08_streams_are_there_from_publication_and_tracks_with_the_subscription
        r09_muting_is_explicit_and_absent_means_keep
        r10_video_can_be_censored_too
        r11_the_size_of_a_room_is_a_setting;
}
