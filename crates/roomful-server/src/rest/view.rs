//! What replies look like.

use roomful_types::RoomId;
use serde::Serialize;
use time::{OffsetDateTime, PrimitiveDateTime};
use uuid::Uuid;

use crate::store::{Page, Room};

/// A reply with one object.
#[derive(Debug, Serialize)]
pub(super) struct Data<T> {
    pub(super) data: T,
}

/// A reply with one page of a list.
#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    pub(super) meta: Meta,
}

/// Where in the list the page is.
#[derive(Debug, Serialize)]
pub(super) struct Meta {
    total_pages: u64,
    total_results: u64,
    page_number: u64,
    page_size: u64,
}

impl Meta {
    pub(super) fn new(page: Page, total_results: u64) -> Self {
        Self {
            total_pages: total_results.div_ceil(page.size),
            total_results,
            page_number: page.number,
            page_size: page.size,
        }
    }
}

/// A room.
#[derive(Debug, Serialize)]
pub(super) struct RoomView {
    id: RoomId,
    unique_name: Option<String>,
    max_participants: u32,
    enable_recording: bool,
    webhook_event_url: Option<String>,
    webhook_event_failover_url: Option<String>,
    webhook_timeout_secs: Option<u32>,
    video_codecs: [&'static str; 2],
    active_session_id: Option<Uuid>,
    created_at: String,
    updated_at: String,
    record_type: &'static str,
}

impl RoomView {
    pub(super) fn new(room: Room, active_session_id: Option<Uuid>) -> Self {
        Self {
            id: room.id,
            unique_name: room.unique_name,
            max_participants: room.max_participants,
            enable_recording: room.enable_recording,
            webhook_event_url: room.webhook_event_url,
            webhook_event_failover_url: room.webhook_event_failover_url,
            webhook_timeout_secs: room.webhook_timeout_secs,
            video_codecs: ["h264", "vp8"],
            active_session_id,
            created_at: rfc3339(room.created_at_unix_ms),
            updated_at: rfc3339(room.updated_at_unix_ms),
            record_type: "room",
        }
    }
}

/// An access token and the refresh token to renew it with.
#[derive(Serialize)]
pub(super) struct TokenPair {
    pub(super) token: String,
    pub(super) token_expires_at: String,
    pub(super) refresh_token: String,
    pub(super) refresh_token_expires_at: String,
    pub(super) record_type: &'static str,
}

/// A new access token.
#[derive(Serialize)]
pub(super) struct RefreshedToken {
    pub(super) token: String,
    pub(super) token_expires_at: String,
}

/// Writes milliseconds since 1970 as RFC 3339 §5.6 in UTC, always to the millisecond; what is later than the year 9999
/// becomes its end.
pub(super) fn rfc3339(unix_ms: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)
        .unwrap_or(PrimitiveDateTime::MAX.assume_utc());
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second, milli) = time.to_hms_milli();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(unix_ms: u64, expected: &str) {
        assert_eq!(rfc3339(unix_ms), expected);
    }

    #[test]
    fn times_are_written_to_the_millisecond() {
        check(0, "1970-01-01T00:00:00.000Z");
        check(1_700_000_000_250, "2023-11-14T22:13:20.250Z");
        check(1_709_164_799_999, "2024-02-28T23:59:59.999Z");
        check(u64::MAX, "9999-12-31T23:59:59.999Z");
    }
}
