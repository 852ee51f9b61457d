//! How numbers and names are written for people.

use std::time::Duration;

use roomful::{Participant, ParticipantId, State};

/// Writes a length of time, to the nearest second, as a clock shows it: `0:07`, `1:02:03`.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.saturating_add(Duration::from_millis(500)).as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// Writes a short length of time in milliseconds.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Writes a number of bytes with the unit that reads best.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{} kB", count / 1000),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}

/// Writes a share of lost packets.
pub(crate) fn loss(lost: u64, received: u64) -> String {
    let all = lost + received;
    let share = if all == 0 { 0.0 } else { lost as f64 * 100.0 / all as f64 };
    format!("{share:.1} %")
}

/// Writes a number with its noun.
pub(crate) fn count(number: usize, noun: &str) -> String {
    match (number, noun) {
        (1, "people") => "1 person".to_owned(),
        (1, _) | (_, "people") => format!("{number} {noun}"),
        (_, _) => format!("{number} {noun}s"),
    }
}

/// Returns the application's name for a participant, or its id.
pub(crate) fn participant(state: &State, id: ParticipantId) -> String {
    state.participant(id).map_or_else(|| id.to_string(), |participant| name(participant))
}

/// Returns the application's name for a participant, or its id.
pub(crate) fn name(participant: &Participant) -> String {
    participant.identity.as_deref().map_or_else(|| participant.id.to_string(), printable)
}

/// Returns how this program is called: through cargo, by its path, or by its name.
pub(crate) fn program() -> String {
    if std::env::var_os("CARGO_MANIFEST_DIR").is_some() {
        return "cargo roomful".to_owned();
    }
    let path = std::env::args().next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    match path.as_str() {
        "" => "roomful".to_owned(),
        path if path.chars().all(is_plain) => path.to_owned(),
        path => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

/// Replaces what could move the cursor or forge lines.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_direction(c) { '\u{fffd}' } else { c }).collect()
}

/// Characters that turn the direction of the text around them.
const fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns how many columns a terminal gives a text. Approximate beyond what is common.
pub(crate) fn width(text: &str) -> usize {
    text.chars()
        .map(|c| match c {
            '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200d}' | '\u{fe00}'..='\u{fe0f}' => 0,
            '\u{1100}'..='\u{115f}'
            | '\u{2e80}'..='\u{a4cf}'
            | '\u{ac00}'..='\u{d7a3}'
            | '\u{f900}'..='\u{faff}'
            | '\u{fe30}'..='\u{fe6f}'
            | '\u{ff00}'..='\u{ff60}'
            | '\u{ffe0}'..='\u{ffe6}'
            | '\u{1f300}'..='\u{1faff}'
            | '\u{20000}'..='\u{3fffd}' => 2,
            _ => 1,
        })
        .sum()
}

/// Cuts a text to a number of columns; an ellipsis stands for what is missing.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        kept.push(c);
        if width(&kept) + 1 > columns {
            kept.pop();
            break;
        }
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_like_a_clock() {
        for (seconds, expected) in [(0, "0:00"), (67, "1:07"), (3723, "1:02:03")] {
            assert_eq!(clock(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(millis(Duration::from_micros(1250)), "1.2 ms");
    }

    #[test]
    fn numbers_have_units() {
        assert_eq!([bytes(9999), bytes(756_376), bytes(12_345_678)], ["9999 B", "756 kB", "12.3 MB"]);
        assert_eq!([loss(0, 0), loss(5, 95)], ["0.0 %", "5.0 %"]);
        assert_eq!([count(1, "people"), count(4, "people")], ["1 person", "4 people"]);
        assert_eq!([count(1, "stream"), count(0, "stream")], ["1 stream", "0 streams"]);
    }

    #[test]
    fn a_text_is_cut_by_columns() {
        assert_eq!(cut("camera", 6), "camera");
        assert_eq!(cut("camera", 4), "cam…");
        assert_eq!(cut("漢字漢字", 5), "漢字…");
        assert_eq!(cut("camera", 1), "…");
        assert_eq!(cut("camera", 0), "");
    }

    #[test]
    fn names_cannot_move_the_cursor() {
        assert_eq!(printable("a\x1b[2J\nb\u{202e}"), "a\u{fffd}[2J\u{fffd}b\u{fffd}");
    }
}
