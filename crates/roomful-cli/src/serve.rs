//! `roomful serve`: the server as a command.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use roomful::Fingerprint;
use roomful_server::{DuplicateIdentity, QuicIdentity, Server, ServerConfig, ShardStats};
use tokio::time::Instant;

use crate::{
    api::{API_KEY_VARIABLE, Key},
    cli::{DEFAULT_SERVER, DuplicatePolicy, LimitArgs, ServeArgs},
    failure::Failure,
    format,
    interrupt::Stop,
    output::Target,
    screen::{Screen, View},
};

/// Serves until it is time to end.
pub(crate) async fn run(args: ServeArgs, stop: Stop) -> Result<(), Failure> {
    let key = key(args.dev, Key::from_environment())?;
    let config = config(&args, &key)?;
    let server = Server::start(config).await.map_err(|error| match &error {
        roomful_server::StartError::Config(_) => Failure::usage(error.to_string()),
        roomful_server::StartError::Http { source, .. }
        | roomful_server::StartError::Quic { source, .. }
        | roomful_server::StartError::Media { source, .. } => Failure::work(format!("{error} ({source})")),
    })?;
    for line in banner(&args, &key, &Served::by(&server)) {
        Target::Stdout.line(&line);
    }
    let begin = Instant::now();
    let mut screen = Screen::new(Target::Stdout);
    let mut ticks = screen.interval();
    loop {
        tokio::select! {
            () = stop.wait() => break,
            // A log that nobody looks at needs no line per second.
            _ = ticks.tick(), if screen.is_terminal() => {
                let foot = format!("{} · {}", format::clock(begin.elapsed()), describe(server.stats()));
                screen.show(&View { foot: (foot, "Ctrl-C ends".to_owned()), ..View::default() });
            }
        }
    }
    screen.end();
    let stats = server.stats();
    server.stop().await;
    let time = format::clock(begin.elapsed());
    Target::Stdout.line(&format!("ended as asked, after {time}: {}", describe(stats)));
    Ok(())
}

/// Chooses the key: the given one, or with `--dev` the built-in one.
fn key(dev: bool, given: Option<Key>) -> Result<Key, Failure> {
    match given {
        Some(key) => Ok(key),
        None if dev => Ok(Key::Development),
        None => Err(Failure::usage(format!(
            "{API_KEY_VARIABLE} is not set; make a key with `openssl rand -hex 32` and start with \
             {API_KEY_VARIABLE}=KEY roomful serve, or try it out without one: roomful serve --dev"
        ))),
    }
}

fn config(args: &ServeArgs, key: &Key) -> Result<ServerConfig, Failure> {
    let mut config = ServerConfig::new(key.as_str());
    if args.dev {
        config.http = SocketAddr::from((Ipv4Addr::LOCALHOST, config.http.port()));
    }
    if let Some(http) = args.http {
        config.http = http;
    }
    if args.dev && !config.http.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "--dev serves HTTP on loopback only, and {} is not; leave out --http, or leave out --dev and set \
             {API_KEY_VARIABLE}",
            config.http
        )));
    }
    config.media = args.media;
    config.quic = quic(args)?;
    if !args.public_ip.is_empty() && args.media.port() == 0 {
        return Err(Failure::usage("--public-ip needs a fixed media port; give one with --media ADDR:PORT"));
    }
    apply(&args.limits, &mut config);
    config.advertised = args.public_ip.iter().map(|ip| SocketAddr::new(*ip, args.media.port())).collect();
    Ok(config)
}

fn apply(limits: &LimitArgs, config: &mut ServerConfig) {
    let LimitArgs {
        max_participants,
        max_streams,
        requests_per_second,
        messages_per_second,
        max_message_bytes,
        max_signal_bytes,
        resume_window,
        duplicate_identity,
    } = *limits;
    let bytes = |given: Option<u32>, default| given.map_or(default, |bytes| bytes as usize);
    config.max_signal_bytes = bytes(max_signal_bytes, config.max_signal_bytes);
    config.max_participants = max_participants.unwrap_or(config.max_participants);
    let sfu = &mut config.sfu;
    sfu.max_streams_per_participant = max_streams.unwrap_or(sfu.max_streams_per_participant);
    sfu.requests_per_second = requests_per_second.unwrap_or(sfu.requests_per_second);
    sfu.messages_per_second = messages_per_second.unwrap_or(sfu.messages_per_second);
    sfu.max_message_bytes = bytes(max_message_bytes, sfu.max_message_bytes);
    sfu.resume_window =
        resume_window.map_or(sfu.resume_window, |seconds| Duration::from_secs(seconds.into()));
    sfu.duplicate_identity = match duplicate_identity {
        None => sfu.duplicate_identity,
        Some(DuplicatePolicy::Replace) => DuplicateIdentity::Replace,
        Some(DuplicatePolicy::Refuse) => DuplicateIdentity::Refuse,
        Some(DuplicatePolicy::Allow) => DuplicateIdentity::Allow,
    };
}

/// Where QUIC is served: for development with a certificate made on the spot, else with the given one, if any.
fn quic(args: &ServeArgs) -> Result<Option<(SocketAddr, QuicIdentity)>, Failure> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
    };
    let any = if args.dev { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    let address = args.quic.unwrap_or(SocketAddr::from((any, QUIC_PORT)));
    match (&args.quic_cert, &args.quic_key) {
        (Some(certificates), Some(key)) => {
            let identity = QuicIdentity::Pem { certificates: read(certificates)?, key: read(key)? };
            Ok(Some((address, identity)))
        }
        _ if args.dev => Ok(Some((address, QuicIdentity::SelfSigned))),
        _ if args.quic.is_some() => {
            Err(Failure::usage("--quic needs a certificate; give --quic-cert FILE and --quic-key FILE"))
        }
        _ => Ok(None),
    }
}

/// Where QUIC is served when no port is given.
const QUIC_PORT: u16 = 7072;

/// What is served where.
struct Served {
    http: SocketAddr,
    media: SocketAddr,
    quic: Option<(SocketAddr, Fingerprint)>,
}

impl Served {
    const fn by(server: &Server) -> Self {
        Self { http: server.http_address(), media: server.media_address(), quic: server.quic() }
    }
}

/// Says what is served, where, and how to join.
fn banner(args: &ServeArgs, key: &Key, served: &Served) -> Vec<String> {
    let Served { http, media, quic } = *served;
    let reached = match (&args.public_ip[..], media.ip().is_unspecified()) {
        ([], true) => " (at all addresses of this machine)".to_owned(),
        ([], false) => String::new(),
        (ips, _) => {
            let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
            format!(" (offered at {})", ips.join(", "))
        }
    };
    let mut lines =
        vec![format!("REST and signalling on http://{http}"), format!("media on UDP {media}{reached}")];
    if let Some((address, fingerprint)) = quic {
        lines.push(format!("signalling also on quic://{address}, certificate {fingerprint}"));
    }
    match (args.dev, key) {
        (true, Key::Development) => {
            lines.push(
                "development mode: HTTP on loopback only, rooms in memory, the built-in development key; not for \
                 production"
                    .to_owned(),
            );
            lines.push(format!("the other commands use that key by themselves while {API_KEY_VARIABLE} is not set"));
        }
        (true, Key::Given(_)) => lines.push(format!(
            "development mode: HTTP on loopback only, rooms in memory, the key of {API_KEY_VARIABLE} instead of the \
             built-in development key; not for production"
        )),
        (false, _) => lines.push(format!(
            "rooms in memory, the key of {API_KEY_VARIABLE}; put a proxy with TLS in front of the HTTP address"
        )),
    }
    let url = format!("http://{}", reachable(http));
    let server = if url == DEFAULT_SERVER { String::new() } else { format!(" --server {url}") };
    let program = format::program();
    lines.push(format!("join:  {program} publish{server} --room demo FILE…"));
    lines.push(format!("       {program} watch{server} --room demo"));
    lines.push("Ctrl-C ends".to_owned());
    lines
}

/// An address that is everywhere is reached at loopback, from here.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())),
        ip => SocketAddr::new(ip, address.port()),
    }
}

fn describe(stats: ShardStats) -> String {
    let ShardStats { packets_forwarded, packets_received, bytes_sent, bytes_acknowledged, datagrams_ignored } =
        stats;
    // What is on its way is not known to have arrived yet.
    let share = (100 * bytes_acknowledged).checked_div(bytes_sent);
    let arrived = share.map_or(String::new(), |share| format!(" ({share} % known to have arrived)"));
    format!(
        "{packets_received} packets received, {packets_forwarded} forwarded{arrived}, \
         {datagrams_ignored} datagrams ignored"
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        cli::{Cli, Command},
        failure::FailureKind,
    };

    fn args(line: &str) -> ServeArgs {
        let cli = Cli::try_parse_from(format!("roomful serve {line}").split_whitespace()).unwrap();
        let Command::Serve(args) = cli.command else { panic!("{cli:?} is not serve") };
        args
    }

    #[test]
    fn the_share_that_arrived_is_told_once_anything_was_sent() {
        let mut stats = ShardStats { packets_received: 3, ..ShardStats::default() };
        assert_eq!(describe(stats), "3 packets received, 0 forwarded, 0 datagrams ignored");
        (stats.packets_forwarded, stats.bytes_sent, stats.bytes_acknowledged) = (9, 1000, 995);
        assert!(describe(stats).contains("9 forwarded (99 % known to have arrived)"));
    }

    #[test]
    fn development_stays_on_loopback() {
        let config = config(&args("--dev"), &Key::Development).unwrap();
        assert_eq!(config.http.to_string(), "127.0.0.1:7070");
        assert_eq!(config.media.to_string(), "0.0.0.0:7071");
        config.validate().unwrap();
        let failure = super::config(&args("--dev --http 0.0.0.0:7070"), &Key::Development).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Usage);
        assert!(super::config(&args("--dev --http [::1]:1"), &Key::Development).is_ok());
    }

    #[test]
    fn without_dev_a_key_is_needed() {
        let failure = key(false, None).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Usage);
        assert!(failure.to_string().contains("openssl rand -hex 32"), "{failure}");
        let given = Key::Given("k".repeat(32));
        assert_eq!(key(false, Some(given.clone())), Ok(given.clone()));
        assert_eq!(config(&args(""), &given).unwrap().http.to_string(), "0.0.0.0:7070");
    }

    #[test]
    fn quic_has_a_certificate_of_its_own_or_is_not_served() {
        let served =
            |line: &str| config(&args(line), &Key::Development).map(|config| config.quic.map(|quic| quic.0));
        assert_eq!(served("--dev").unwrap(), Some(([127, 0, 0, 1], QUIC_PORT).into()));
        assert_eq!(served("").unwrap(), None);
        assert_eq!(served("--quic 0.0.0.0:1").unwrap_err().kind(), FailureKind::Usage);
        let missing = served("--quic-cert /no/such --quic-key /no/such").unwrap_err();
        assert!(missing.to_string().contains("/no/such"), "{missing}");
    }

    #[test]
    fn limits_are_the_given_ones_and_else_the_servers_own() {
        let limits = |line: &str| {
            let config = config(&args(line), &Key::Development).unwrap();
            let sfu = config.sfu;
            (
                (config.max_participants, sfu.max_streams_per_participant, sfu.requests_per_second),
                (sfu.messages_per_second, sfu.max_message_bytes, config.max_signal_bytes),
                (sfu.resume_window, sfu.duplicate_identity),
            )
        };
        let default =
            ((100, 16, 100), (50, 65_536, 1 << 20), (Duration::from_secs(30), DuplicateIdentity::Replace));
        assert_eq!(limits("--dev"), default);
        let given = "--max-participants 5 --max-streams 2 --requests-per-second 7 --resume-window 0 \
                     --duplicate-identity refuse --messages-per-second 3 --max-message-bytes 9 \
                     --max-signal-bytes 70000";
        assert_eq!(limits(given), ((5, 2, 7), (3, 9, 70_000), (Duration::ZERO, DuplicateIdentity::Refuse)));
    }

    #[test]
    fn public_addresses_get_the_media_port() {
        let args = args("--public-ip 192.0.2.1 --public-ip 2001:db8::1 --media 0.0.0.0:9000");
        let config = config(&args, &Key::Development).unwrap();
        let advertised: Vec<String> = config.advertised.iter().map(ToString::to_string).collect();
        assert_eq!(advertised, ["192.0.2.1:9000", "[2001:db8::1]:9000"]);
    }

    #[test]
    fn the_development_key_is_mentioned() {
        let served = Served { http: ([127, 0, 0, 1], 7070).into(), media: ([0; 4], 7071).into(), quic: None };
        let lines = banner(&args("--dev"), &Key::Development, &served);
        assert!(lines.join("\n").contains("built-in development key"), "{lines:?}");
    }
}
