//! The command line.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    path::PathBuf,
};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, value_parser};
use roomful::{Fingerprint, RoomId, StreamKey};

use crate::failure::EXIT_CODES;

/// Real-time video rooms from the command line.
///
/// To see it all at once: `roomful demo`. To try it by hand: `roomful serve --dev`, then `publish`, `watch` and `record` in
/// other terminals.
#[derive(Debug, Parser)]
#[command(name = "roomful", version, propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Tells more on stderr: -v what happens, -vv details, -vvv everything. RUST_LOG says it more finely.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves rooms: REST, signalling and media in one process.
    #[command(after_help = EXIT_CODES)]
    Serve(ServeArgs),
    /// Makes a client token with which one program can join one room, and prints it.
    #[command(after_help = EXIT_CODES)]
    Token(TokenArgs),
    /// Publishes media files into a room, in real time.
    #[command(after_help = EXIT_CODES)]
    Publish(PublishArgs),
    /// Records everything in a room, one file per track.
    #[command(after_help = EXIT_CODES)]
    Record(RecordArgs),
    /// Shows who is in a room and what flows.
    #[command(after_help = EXIT_CODES)]
    Watch(WatchArgs),
    /// Shows it all: a server, a room and four participants with real media, on this machine only.
    #[command(after_help = EXIT_CODES)]
    Demo(DemoArgs),
}

/// How to serve.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// For trying out: HTTP on loopback only, and a built-in development key unless ROOMFUL_API_KEY is set.
    #[arg(long)]
    pub(crate) dev: bool,
    /// Where REST and signalling are served [default: 0.0.0.0:7070, with --dev 127.0.0.1:7070].
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Where all media comes and goes, UDP.
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7071)))]
    pub(crate) media: SocketAddr,
    /// Where signalling over QUIC is served, UDP; by default at port 7072 when there is a certificate. `--dev` makes one.
    #[arg(long, value_name = "ADDR")]
    pub(crate) quic: Option<SocketAddr>,
    /// The certificates of the QUIC address in PEM, its own first.
    #[arg(long, value_name = "FILE", requires = "quic_key")]
    pub(crate) quic_cert: Option<PathBuf>,
    /// The private key of that certificate in PEM.
    #[arg(long, value_name = "FILE", requires = "quic_cert")]
    pub(crate) quic_key: Option<PathBuf>,
    /// An address at which clients reach the media port, behind a NAT. May be given several times; without it all addresses
    /// of this machine are offered.
    #[arg(long, value_name = "IP")]
    pub(crate) public_ip: Vec<IpAddr>,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

/// What a server allows. What is not given is as the server has it by default.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Participants of a room that does not say [default: 100].
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub(crate) max_participants: Option<u32>,
    /// Streams that one participant may publish [default: 16].
    #[arg(long, value_name = "N")]
    pub(crate) max_streams: Option<usize>,
    /// Requests of one client per second, on average [default: 100].
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub(crate) requests_per_second: Option<u32>,
    /// Text messages of one client per second, on average [default: 50].
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub(crate) messages_per_second: Option<u32>,
    /// Longest text message, in bytes [default: 65536].
    #[arg(long, value_name = "BYTES", value_parser = value_parser!(u32).range(1..=65536))]
    pub(crate) max_message_bytes: Option<u32>,
    /// Longest signalling message that is read, in bytes [default: 1048576].
    #[arg(long, value_name = "BYTES", value_parser = value_parser!(u32).range(65536..=1_048_576))]
    pub(crate) max_signal_bytes: Option<u32>,
    /// How long a participant whose connection is lost may come back, in seconds [default: 30].
    #[arg(long, value_name = "SECONDS")]
    pub(crate) resume_window: Option<u32>,
    /// What happens when somebody joins under an identity that is in the room [default: replace].
    #[arg(long, value_name = "POLICY")]
    pub(crate) duplicate_identity: Option<DuplicatePolicy>,
}

/// What happens to the earlier one of two with one identity.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DuplicatePolicy {
    /// The earlier one is disconnected.
    Replace,
    /// The later one is not let in.
    Refuse,
    /// Both are in the room.
    Allow,
}

/// Which server.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Where the server is. Its API key is read from ROOMFUL_API_KEY; without it, the development key is used for servers on
    /// loopback.
    #[arg(long, value_name = "URL", env = "ROOMFUL_SERVER", default_value = DEFAULT_SERVER)]
    pub(crate) server: String,
    /// Where signalling is, when not at the server's own address: `quic://HOST:PORT`.
    #[arg(long, value_name = "URL")]
    pub(crate) signal: Option<String>,
    /// The fingerprint of the QUIC certificate, as `serve --dev` prints it; without it, the system's authorities are trusted.
    #[arg(long, value_name = "HEX", requires = "signal")]
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// Which room.
#[derive(Debug, Args)]
pub(crate) struct RoomArgs {
    /// The room: its id, or its unique name. A room with that name is made if there is none.
    #[arg(long, value_name = "ID", value_parser = room_name)]
    pub(crate) room: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// What token to make.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    pub(crate) room: RoomArgs,
    /// The application's name for who joins with it.
    #[arg(long, value_name = "ID")]
    pub(crate) identity: Option<String>,
    /// How long one can join with it.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = value_parser!(u32).range(10..=3600))]
    pub(crate) ttl: u32,
}

/// What to publish.
#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    pub(crate) room: RoomArgs,
    /// At most one video file (VP8 in IVF, Annex-B H.264) and one audio file (Opus in Ogg).
    #[arg(value_name = "FILE", required = true, num_args = 1..=2)]
    pub(crate) files: Vec<PathBuf>,
    /// Starts over at the end, until Ctrl-C.
    #[arg(long = "loop")]
    pub(crate) looped: bool,
    /// The name of the stream.
    #[arg(long, default_value = "camera", value_parser = |text: &str| StreamKey::new(text))]
    pub(crate) key: StreamKey,
    /// The application's name for this participant.
    #[arg(long, value_name = "ID")]
    pub(crate) identity: Option<String>,
    /// Frames per second of H.264 files, which do not tell.
    #[arg(long, value_name = "N", default_value = "30")]
    pub(crate) frame_rate: NonZeroU32,
}

/// What to record.
#[derive(Debug, Args)]
pub(crate) struct RecordArgs {
    #[command(flatten)]
    pub(crate) room: RoomArgs,
    /// The folder for the files; made if there is none. Files that are there already stay.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Ends after this time; without it, with Ctrl-C.
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub(crate) seconds: Option<u64>,
    /// The application's name for this participant.
    #[arg(long, value_name = "ID")]
    pub(crate) identity: Option<String>,
}

/// What to watch.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) room: RoomArgs,
    /// Ends after this time; without it, with Ctrl-C.
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub(crate) seconds: Option<u64>,
}

/// How to show it all.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Ends after this time; without it, with Ctrl-C.
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..))]
    pub(crate) seconds: Option<u64>,
    /// Prints one JSON object at the end, and nothing else, on stdout.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where `serve --dev` serves.
pub(crate) const DEFAULT_SERVER: &str = "http://127.0.0.1:7070";

/// Checks what the server would refuse, or what would change its meaning in a path.
fn room_name(text: &str) -> Result<String, String> {
    let length = text.chars().count();
    if text.parse::<RoomId>().is_ok() {
        return Ok(text.to_owned());
    }
    if !(1..=128).contains(&length) {
        return Err(format!("{length} characters; a name has 1 to 128"));
    }
    if text.chars().any(char::is_control) || matches!(text, "." | "..") {
        return Err("a name is neither dots only nor has it control characters".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Command, ErrorKind> {
        let parsed = Cli::try_parse_from(line.split(' '));
        parsed.map(|cli| cli.command).map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_issue_is_understood() {
        for line in [
            "roomful serve --dev --http 127.0.0.1:0 --media 0.0.0.0:0 --public-ip 192.0.2.1 --public-ip 2001:db8::1",
            "roomful token --room demo --identity me --ttl 60 --server http://127.0.0.1:1",
            "roomful publish --room demo a.ivf b.ogg --loop --key screen",
            "roomful publish -v --room 00000000-0000-4000-8000-000000000000 a.h264",
            "roomful record --room demo --out folder -vv",
            "roomful watch --room demo",
            "roomful demo --seconds 10 --json",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_refused() {
        for (line, kind) in [
            ("roomful publish --room demo", ErrorKind::MissingRequiredArgument),
            ("roomful publish --room demo a b c", ErrorKind::TooManyValues),
            ("roomful record --room demo", ErrorKind::MissingRequiredArgument),
            ("roomful token --room demo --ttl 5", ErrorKind::ValueValidation),
            ("roomful watch --room ..", ErrorKind::ValueValidation),
            ("roomful demo --seconds 0", ErrorKind::ValueValidation),
        ] {
            assert_eq!(parse(line).err(), Some(kind), "{line}");
        }
    }

    #[test]
    fn exit_codes_stand_in_the_help() {
        for name in ["serve", "token", "publish", "record", "watch", "demo"] {
            let mut command = Cli::command();
            let command = command.find_subcommand_mut(name).unwrap();
            assert!(command.render_help().to_string().contains("Exit codes:"), "{name}");
        }
    }
}
