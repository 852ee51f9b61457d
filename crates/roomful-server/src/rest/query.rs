//! Reads which rooms a list is asked for.

use std::ops::Range;

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use time::{Date, Month};

use crate::{
    error::{ApiError, Problem, Source, excerpt},
    store::{Page, RoomFilter},
};

/// The query of a list: `page[number]`, `page[size]` and `filter[…]`. Others are skipped, `include_sessions` among them.
///
/// A filter that is not known is refused: without it the reply would hold rooms that were not asked for.
#[derive(Debug)]
pub(super) struct ListQuery {
    pub(super) page: Page,
    pub(super) filter: RoomFilter,
}

impl ListQuery {
    /// Reads names and values; the last of a name counts, dates of one field narrow each other down.
    fn parse(pairs: Vec<(String, String)>) -> Result<Self, ApiError> {
        let mut query =
            Self { page: Page { number: 1, size: DEFAULT_PAGE_SIZE }, filter: RoomFilter::default() };
        let mut problems = Vec::new();
        for (name, value) in pairs {
            if let Err(detail) = query.set(&name, value) {
                let source = Source::Parameter(excerpt(&name));
                problems.push(match detail {
                    Fault::Invalid(detail) => Problem::invalid(source, detail),
                    Fault::Unknown(detail) => Problem::unknown(source, detail),
                });
            }
        }
        if problems.is_empty() { Ok(query) } else { Err(ApiError::unprocessable(problems)) }
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), Fault> {
        match name {
            "page[number]" => self.page.number = whole_number(name, &value, 1, u64::MAX)?,
            "page[size]" => self.page.size = whole_number(name, &value, 1, MAX_PAGE_SIZE)?,
            "filter[unique_name]" => self.filter.unique_name = Some(value),
            _ => {
                if let Some(operator) = name.strip_prefix("filter[date_created_at]") {
                    narrow(&mut self.filter.created_at_unix_ms, name, operator, &value)?;
                } else if let Some(operator) = name.strip_prefix("filter[date_updated_at]") {
                    narrow(&mut self.filter.updated_at_unix_ms, name, operator, &value)?;
                } else if name.starts_with("filter[") || name.starts_with("page[") {
                    return Err(unknown(name));
                }
            }
        }
        Ok(())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ListQuery {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(pairs) = Query::from_request_parts(parts, state).await?;
        Self::parse(pairs)
    }
}

/// What is wrong with one parameter.
enum Fault {
    Invalid(String),
    Unknown(String),
}

fn unknown(name: &str) -> Fault {
    Fault::Unknown(format!(
        "`{}` is not known; there are page[number], page[size], filter[unique_name], \
         filter[date_created_at][eq|gte|lte] and filter[date_updated_at][eq|gte|lte]",
        excerpt(name)
    ))
}

fn whole_number(name: &str, value: &str, min: u64, max: u64) -> Result<u64, Fault> {
    value.parse().ok().filter(|number| (min..=max).contains(number)).ok_or_else(|| {
        Fault::Invalid(format!(
            "{name} is `{}`; it must be a whole number from {min} to {max}",
            excerpt(value)
        ))
    })
}

/// Narrows a range of times down to one day, or to those from it on, or to those up to its end.
fn narrow(times: &mut Range<u64>, name: &str, operator: &str, value: &str) -> Result<(), Fault> {
    let day = utc_day(value).ok_or_else(|| {
        Fault::Invalid(format!(
            "{} is `{}`; it must be a date such as 2026-01-31",
            excerpt(name),
            excerpt(value)
        ))
    })?;
    match operator {
        "[eq]" => *times = times.start.max(day.start)..times.end.min(day.end),
        "[gte]" => times.start = times.start.max(day.start),
        "[lte]" => times.end = times.end.min(day.end),
        _ => return Err(unknown(name)),
    }
    Ok(())
}

/// Returns the milliseconds since 1970 of a day in UTC, written as ISO 8601 has it: `YYYY-MM-DD`.
fn utc_day(text: &str) -> Option<Range<u64>> {
    let shape_fits = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
    if !shape_fits {
        return None;
    }
    let month = Month::try_from(text[5..7].parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(text[..4].parse().ok()?, month, text[8..].parse().ok()?).ok()?;
    let start = date.midnight().assume_utc().unix_timestamp();
    // No room is older than 1970: the days before are empty.
    let millis = |seconds: i64| u64::try_from(seconds).unwrap_or(0) * 1000;
    Some(millis(start)..millis(start + SECONDS_PER_DAY))
}

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// Rooms on a page when the query does not say; the reference's number, as is the most.
const DEFAULT_PAGE_SIZE: u64 = 20;
const MAX_PAGE_SIZE: u64 = 250;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    #[track_caller]
    fn check(text: &str, expected: Option<Range<u64>>) {
        assert_eq!(utc_day(text), expected);
    }

    #[test]
    fn a_day_has_its_own_milliseconds() {
        check("1970-01-01", Some(0..DAY_MS));
        check("2024-02-29", Some(1_709_164_800_000..1_709_164_800_000 + DAY_MS));
        check("1969-12-31", Some(0..0));
        check("0000-01-01", Some(0..0));
        check("9999-12-31", Some(253_402_214_400_000..253_402_214_400_000 + DAY_MS));
    }

    #[test]
    fn only_dates_that_exist_are_taken() {
        for text in [
            "",
            "2026",
            "2026-1-1",
            "2026-02-29",
            "2026-00-01",
            "2026-13-01",
            "2026-01-00",
            "2026-01-01T00:00:00Z",
            "20260101",
            "+026-01-01",
            "2026/01/01",
            "2026-01-1x",
            "202é-01-01",
        ] {
            check(text, None);
        }
    }
}
