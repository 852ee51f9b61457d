//! Lines to stdout and stderr. A reader that goes away (`roomful watch | head`) is no error.

use std::io::{self, IsTerminal, Write};

/// Where the output for people goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Standard output.
    Stdout,
    /// Standard error: standard output is kept for what programs read.
    Stderr,
}

impl Target {
    /// Writes text as it is, and at once.
    pub(crate) fn write(self, text: &str) {
        // Whoever read it is gone: nobody is left to be told.
        let _ = match self {
            Self::Stdout => write_all(&mut io::stdout().lock(), text),
            Self::Stderr => write_all(&mut io::stderr().lock(), text),
        };
    }

    /// Writes a line.
    pub(crate) fn line(self, text: &str) {
        self.write(&format!("{text}\n"));
    }

    /// Returns whether a person looks at it.
    pub(crate) fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }
}

/// Writes a line to stderr.
pub(crate) fn note(text: &str) {
    Target::Stderr.line(text);
}

/// Returns whether colour is welcome (no-color.org).
pub(crate) fn may_color() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn write_all(output: &mut impl Write, text: &str) -> io::Result<()> {
    output.write_all(text.as_bytes())?;
    output.flush()
}
