//! Why a command failed, in words for people and a code for scripts.

use std::{fmt, process::ExitCode};

use roomful::{DisconnectReason, ErrorKind};

/// Why a command failed. The text names the cause and the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    kind: FailureKind,
    text: String,
}

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The work went wrong.
    Work,
    /// The command was called wrongly.
    Usage,
    /// The server, or its media port, cannot be reached.
    Unreachable,
    /// The server refused a key, a token, a permission, or one more participant.
    Refused,
}

/// What `--help` says about exit codes.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done, or ended as asked (Ctrl-C, SIGTERM, --seconds)
  1  the work failed
  2  called wrongly: an argument or a setting is missing or wrong
  3  the server or its media port cannot be reached
  4  the server refused: API key, token, permission, or a limit";

impl Failure {
    /// The work went wrong.
    pub(crate) fn work(text: impl Into<String>) -> Self {
        Self { kind: FailureKind::Work, text: text.into() }
    }

    /// The command was called wrongly.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { kind: FailureKind::Usage, text: text.into() }
    }

    /// The server cannot be reached.
    pub(crate) fn unreachable(text: impl Into<String>) -> Self {
        Self { kind: FailureKind::Unreachable, text: text.into() }
    }

    /// The server refused.
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self { kind: FailureKind::Refused, text: text.into() }
    }

    /// A call of the SDK failed.
    ///
    /// * `attempt`: what was tried, as in "cannot join the room".
    pub(crate) fn of_call(attempt: &str, error: roomful::Error) -> Self {
        let (kind, next) = match error.kind() {
            ErrorKind::Unauthorized => (FailureKind::Refused, "; run the command again for a new token"),
            ErrorKind::Forbidden => (FailureKind::Refused, "; ask for a token that permits it"),
            ErrorKind::LimitReached => (FailureKind::Refused, "; try again when others have left"),
            ErrorKind::Network | ErrorKind::MediaUnreachable => (FailureKind::Unreachable, ""),
            ErrorKind::TimedOut => {
                (FailureKind::Unreachable, "; check that the server runs and is not overloaded")
            }
            ErrorKind::Server => {
                (FailureKind::Work, "; check that client and server are of the same version")
            }
            ErrorKind::Disconnected | ErrorKind::WrongState => {
                (FailureKind::Work, "; run the command again to rejoin")
            }
            ErrorKind::InvalidArgument | _ => (FailureKind::Work, ""),
        };
        Self { kind, text: format!("{attempt}: {error}{next}") }
    }

    /// The stay in the room ended without having been asked to.
    pub(crate) fn disconnected(reason: DisconnectReason) -> Self {
        let next = match reason {
            DisconnectReason::NetworkError | DisconnectReason::TimedOut => {
                "check that the server still runs, then run the command again"
            }
            DisconnectReason::Kicked => "ask the moderator before you join again",
            DisconnectReason::SessionEnded => "run the command again to begin a new session",
            DisconnectReason::Unauthorized | DisconnectReason::Forbidden => {
                "run the command again for a new token"
            }
            DisconnectReason::RoomFull => "try again when others have left",
            DisconnectReason::ProtocolError => "check that client and server are of the same version",
            DisconnectReason::UserInitiated | _ => "run the command again to rejoin",
        };
        Self::work(format!("disconnected: {reason}; {next}"))
    }

    /// Returns the code to exit with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.kind {
            FailureKind::Work => 1,
            FailureKind::Usage => 2,
            FailureKind::Unreachable => 3,
            FailureKind::Refused => 4,
        })
    }

    /// Returns who has to act.
    #[cfg(test)]
    pub(crate) const fn kind(&self) -> FailureKind {
        self.kind
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
