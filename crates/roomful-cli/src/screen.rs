//! What a running command shows: one picture redrawn in place on a terminal, one line per second elsewhere.

use std::time::Duration;

use crate::{
    format::{cut, width},
    output::{self, Target},
    table::{Table, spread},
};

/// Shows views, one in the place of the other.
#[derive(Debug)]
pub(crate) struct Screen {
    target: Target,
    is_terminal: bool,
    has_color: bool,
    /// Widths of the lines that stand there now.
    drawn: Vec<usize>,
}

/// What there is to show at one time.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// The first line: its left and right end.
    pub(crate) head: (String, String),
    /// A table under it, if it has rows.
    pub(crate) table: Table,
    /// The last line: its left and right end. The left one is never cut, so that a command in it can be copied.
    pub(crate) foot: (String, String),
    /// All of it in one line, where nothing can be redrawn.
    pub(crate) plain: String,
}

impl Screen {
    /// Makes a screen that draws on `target`.
    pub(crate) fn new(target: Target) -> Self {
        let is_terminal = target.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { target, is_terminal, has_color: is_terminal && output::may_color(), drawn: Vec::new() }
    }

    /// Returns how often to show.
    pub(crate) fn interval(&self) -> tokio::time::Interval {
        let period = Duration::from_millis(if self.is_terminal { 250 } else { 1000 });
        // The first one when there is something to see; a late one is not made up for.
        let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        interval
    }

    /// Returns whether what it shows is redrawn in place.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Shows a view.
    pub(crate) fn show(&mut self, view: &View) {
        if !self.is_terminal {
            return self.target.line(&view.plain);
        }
        let (columns, rows) = size();
        let lines = view.lines(columns, rows);
        let mut text = format!("{BEGIN_UPDATE}{}", self.back(columns));
        for (style, line) in &lines {
            match style.code().filter(|_| self.has_color) {
                Some(code) => text.push_str(&format!("\x1b[{code}m{line}\x1b[0m{CLEAR_LINE}\n")),
                None => text.push_str(&format!("{line}{CLEAR_LINE}\n")),
            }
        }
        text.push_str(CLEAR_BELOW);
        text.push_str(END_UPDATE);
        self.target.write(&text);
        self.drawn = lines.iter().map(|(_, line)| width(line)).collect();
    }

    /// Writes a line that stays, in front of what is redrawn; to stderr where nothing is.
    pub(crate) fn line(&mut self, text: &str) {
        if !self.is_terminal {
            return output::note(text);
        }
        let back = self.back(size().0);
        self.drawn.clear();
        self.target.write(&format!("{back}{CLEAR_BELOW}{text}\n"));
    }

    /// Leaves the last picture where it is, without the `^C` that a terminal shows behind it.
    pub(crate) fn end(&mut self) {
        if self.is_terminal && !self.drawn.is_empty() {
            self.target.write(&format!("\r{CLEAR_LINE}"));
            self.drawn.clear();
        }
    }

    /// Moves the cursor back to where the drawn lines begin.
    fn back(&self, columns: usize) -> String {
        // After the window became narrower, a line may have been broken into several.
        let rows: usize = self.drawn.iter().map(|width| width.div_ceil(columns).max(1)).sum();
        if rows > 0 { format!("\r\x1b[{rows}A") } else { String::new() }
    }
}

impl View {
    /// Writes the view as lines of at most `columns`, fewer than `rows` of them.
    fn lines(&self, columns: usize, rows: usize) -> Vec<(Style, String)> {
        let columns = columns.saturating_sub(1).clamp(20, MAX_COLUMNS);
        let line = |ends: &(String, String)| spread(&ends.0, &ends.1, columns);
        let mut lines = Vec::new();
        if !self.head.0.is_empty() {
            lines.push((Style::Strong, line(&self.head)));
        }
        if !self.table.rows.is_empty() {
            lines.push((Style::Plain, String::new()));
            let table = self.table.lines(columns);
            let foot_rows = width(&self.foot.0) / columns;
            let places = rows.saturating_sub(FRAME_ROWS + foot_rows).max(2);
            let hidden = table.len().saturating_sub(places);
            let shown = if hidden > 0 { places - 1 } else { table.len() };
            let styles = std::iter::once(Style::Faint).chain(std::iter::repeat(Style::Plain));
            lines.extend(styles.zip(table.into_iter().take(shown)));
            if hidden > 0 {
                lines.push((Style::Faint, cut(&format!("  … and {} more", hidden + 1), columns)));
            }
            lines.push((Style::Plain, String::new()));
        }
        if !self.foot.0.is_empty() {
            let is_long = width(&self.foot.0) > columns;
            lines.push((Style::Faint, if is_long { self.foot.0.clone() } else { line(&self.foot) }));
        }
        lines
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Strong,
    Faint,
}

impl Style {
    const fn code(self) -> Option<u8> {
        match self {
            Self::Plain => None,
            Self::Strong => Some(1),
            Self::Faint => Some(2),
        }
    }
}

/// Returns columns and rows of the terminal.
fn size() -> (usize, usize) {
    let (columns, rows) = crossterm::terminal::size().unwrap_or((80, 24));
    (usize::from(columns).max(1), usize::from(rows).max(1))
}

/// Terminals that know these two draw everything between them at once; others skip them.
const BEGIN_UPDATE: &str = "\x1b[?2026h";
const END_UPDATE: &str = "\x1b[?2026l";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Beyond this, the eye loses the line.
const MAX_COLUMNS: usize = 120;

/// Lines around the table, the cursor's included.
const FRAME_ROWS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Column;

    fn view(rows: usize) -> View {
        View {
            head: ("room demo".to_owned(), "rtt 0.3 ms".to_owned()),
            table: Table {
                columns: vec![Column::text("from")],
                rows: (0..rows).map(|row| vec![format!("bot-{row}")]).collect(),
            },
            foot: ("join it".to_owned(), String::new()),
            plain: String::new(),
        }
    }

    #[test]
    fn it_never_fills_the_window() {
        for rows in 0..20 {
            for height in 8..16 {
                assert!(view(rows).lines(80, height).len() < height, "{rows} rows in {height}");
            }
        }
        let lines = view(9).lines(80, 10);
        assert!(lines.iter().any(|(_, line)| line == "  … and 6 more"), "{lines:?}");
    }

    #[test]
    fn a_command_is_never_cut() {
        let mut view = view(3);
        view.foot.0 = "join it:  roomful watch --room demo".to_owned();
        let lines = view.lines(25, 24);
        assert_eq!(lines.last().unwrap().1, view.foot.0);
        assert!(lines[..lines.len() - 1].iter().all(|(_, line)| width(line) < 25));
    }

    #[test]
    fn without_rows_there_is_no_table() {
        assert_eq!(view(0).lines(31, 24).len(), 2);
        assert_eq!(view(0).lines(31, 24)[0].1, "room demo           rtt 0.3 ms");
    }
}
