//! A table as lines of text: columns as wide as they need, the least important left out where it is narrow.

use crate::format::{cut, width};

/// A table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// Its columns, from left to right.
    pub(crate) columns: Vec<Column>,
    /// Its rows, each with one cell per column.
    pub(crate) rows: Vec<Vec<String>>,
}

/// One column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    is_number: bool,
    /// How early it is left out; 0: never.
    rank: u8,
}

impl Column {
    /// A column of text that stays.
    pub(crate) const fn text(title: &'static str) -> Self {
        Self { title, is_number: false, rank: 0 }
    }

    /// A column of numbers with units, right-aligned, that stays.
    pub(crate) const fn number(title: &'static str) -> Self {
        Self { title, is_number: true, rank: 0 }
    }

    /// Lets the column be left out where there is no room; those with the highest rank go first.
    pub(crate) const fn optional(self, rank: u8) -> Self {
        Self { rank, ..self }
    }
}

impl Table {
    /// Writes the table as lines of at most `columns` columns, the titles first.
    pub(crate) fn lines(&self, columns: usize) -> Vec<String> {
        let widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(at, one)| self.width(at, one)).collect();
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let needed = |shown: &[usize]| {
            INDENT.len() + shown.iter().map(|at| widths[*at] + GAP.len()).sum::<usize>() - GAP.len()
        };
        while shown.len() > 1 && needed(&shown) > columns {
            let Some(last) = shown
                .iter()
                .copied()
                .filter(|at| self.columns[*at].rank > 0)
                .max_by_key(|at| self.columns[*at].rank)
            else {
                break;
            };
            shown.retain(|at| *at != last);
        }
        let titles: Vec<String> = self.columns.iter().map(|column| column.title.to_owned()).collect();
        std::iter::once(&titles)
            .chain(&self.rows)
            .map(|row| self.line(row, &shown, &widths, columns))
            .collect()
    }

    fn width(&self, at: usize, column: &Column) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell));
        cells.chain([width(column.title)]).max().unwrap_or(0).min(MAX_CELL)
    }

    fn line(&self, row: &[String], shown: &[usize], widths: &[usize], columns: usize) -> String {
        let cells: Vec<String> = shown
            .iter()
            .map(|at| {
                let cell = cut(row.get(*at).map_or("", String::as_str), widths[*at]);
                let space = " ".repeat(widths[*at] - width(&cell));
                if self.columns[*at].is_number { space + &cell } else { cell + &space }
            })
            .collect();
        cut(format!("{INDENT}{}", cells.join(GAP)).trim_end(), columns)
    }
}

const INDENT: &str = "  ";
const GAP: &str = "   ";

/// Widest cell, in columns: a UUID.
const MAX_CELL: usize = 36;

/// Puts one text at the left and one at the right end of a line; the right one goes first where there is no room.
pub(crate) fn spread(left: &str, right: &str, columns: usize) -> String {
    let used = width(left) + width(right);
    if right.is_empty() || used + 2 > columns {
        return cut(left, columns);
    }
    format!("{left}{}{right}", " ".repeat(columns - used))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        Table {
            columns: vec![
                Column::text("from"),
                Column::text("codec").optional(1),
                Column::number("rate"),
                Column::number("delay").optional(2),
            ],
            rows: vec![
                row(["bot-1", "VP8", "604 kbit/s", "1.2 ms"]),
                row(["", "Opus", "33 kbit/s", "0.4 ms"]),
            ],
        }
    }

    #[track_caller]
    fn check(columns: usize, expected: &[&str]) {
        assert_eq!(table().lines(columns), expected);
    }

    #[test]
    fn columns_line_up() {
        check(
            80,
            &[
                "  from    codec         rate    delay",
                "  bot-1   VP8     604 kbit/s   1.2 ms",
                "          Opus     33 kbit/s   0.4 ms",
            ],
        );
    }

    #[test]
    fn columns_go_by_rank_where_it_is_narrow() {
        check(
            36,
            &["  from    codec         rate", "  bot-1   VP8     604 kbit/s", "          Opus     33 kbit/s"],
        );
        check(27, &["  from          rate", "  bot-1   604 kbit/s", "           33 kbit/s"]);
        check(10, &["  from   …", "  bot-1  …", "         …"]);
    }

    #[test]
    fn a_line_is_spread_over_the_width() {
        assert_eq!(spread("room demo", "0:12", 20), "room demo       0:12");
        assert_eq!(spread("room demo", "0:12", 14), "room demo");
        assert_eq!(spread("room demo", "", 5), "room…");
    }
}
