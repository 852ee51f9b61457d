//! `roomful demo`: a server, a room and four participants with real media, in one process and on this machine only.
//!
//! The participants are ordinary users of the SDK, over real HTTP, WebSocket and UDP. Every received frame is compared with
//! what was published.

mod bot;
mod ledger;
mod picture;
mod report;
mod stage;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use roomful_server::{Server, ServerConfig};
use tokio::time::Instant;

use self::{picture::Picture, report::Report, stage::Stage};
use crate::{
    api::{Api, Key, parse_server},
    cli::DemoArgs,
    failure::Failure,
    format,
    interrupt::Stop,
    output::Target,
    screen::Screen,
};

/// Shows it all until it is time to end.
pub(crate) async fn run(args: DemoArgs, stop: Stop) -> Result<(), Failure> {
    let target = if args.json { Target::Stderr } else { Target::Stdout };
    target.line("roomful demo: a server, a room and four participants, all on this machine");
    let mut report = Report::default();
    let result = perform(&args, &stop, target, &mut report).await;
    if args.json {
        let json = serde_json::to_string(&report).map_err(|error| {
            Failure::work(format!("cannot write the report: {error}; please report this"))
        })?;
        Target::Stdout.line(&json);
    }
    let how = result?;
    target.line(&how);
    Ok(())
}

/// Plays the demo; returns what its last line says.
async fn perform(
    args: &DemoArgs,
    stop: &Stop,
    target: Target,
    report: &mut Report,
) -> Result<String, Failure> {
    let begin = Instant::now();
    let key = Key::from_environment().unwrap_or(Key::Development);
    let server = Server::start(ServerConfig::loopback(key.as_str()))
        .await
        .map_err(|error| Failure::work(format!("cannot start the server: {error}")))?;
    let api = Api::with_key(parse_server(&format!("http://{}", server.http_address()))?, key)?;
    let folder: Arc<Path> = fresh_folder()?.into();
    target.line(&format!("server on {} with media on UDP {}", api.server(), server.media_address()));

    let set_up = async {
        let room = api.room(ROOM).await?.id;
        Stage::set_up(&api, room, folder.clone()).await
    };
    let stage = tokio::select! {
        stage = set_up => Some(stage?),
        () = stop.wait() => None,
    };
    let Some(mut stage) = stage else {
        server.stop().await;
        // A folder that got files stays.
        let _ = fs::remove_dir(&folder);
        let time = begin.elapsed();
        return if time < TOO_EARLY {
            Ok("ended as asked, before everybody had joined".to_owned())
        } else {
            Err(Failure::work(format!(
                "after {} not everybody had joined; run it again with -v",
                format::clock(time)
            )))
        };
    };

    let invitation = format!("{} watch --server {} --room {ROOM}", format::program(), api.server());
    let played = play(args, stop, target, &server, &mut stage, &invitation).await;
    let time = begin.elapsed();
    let ended = stage.end().await;
    *report = stage.report();
    server.stop().await;
    if !args.json {
        report.lines().iter().for_each(|line| target.line(line));
    }
    played.and(ended)?;
    match stage.check_frames() {
        Ok(()) => Ok(conclusion(report, time)),
        Err(_) if stop.is_stopped() && time < TOO_EARLY => {
            Ok("ended as asked, before every subscription had got a frame".to_owned())
        }
        Err(failure) => Err(failure),
    }
}

/// Shows the stage until it is time to end.
async fn play(
    args: &DemoArgs,
    stop: &Stop,
    target: Target,
    server: &Server,
    stage: &mut Stage,
    invitation: &str,
) -> Result<(), Failure> {
    let mut screen = Screen::new(target);
    let begin = Instant::now();
    let mut picture = Picture::begin(stage, begin);
    if !screen.is_terminal() {
        target.line(&format!("join it:  {invitation}"));
    }
    let mut ticks = screen.interval();
    let ending = stop.wait_or(args.seconds);
    tokio::pin!(ending);
    screen.show(&picture.take(stage, server.stats(), Duration::ZERO, invitation));
    let result = loop {
        let checked = tokio::select! {
            () = &mut ending => break Ok(()),
            ended = stage.watch() => ended,
            _ = ticks.tick() => {
                screen.show(&picture.take(stage, server.stats(), begin.elapsed(), invitation));
                stage.check_connections()
            }
        };
        if checked.is_err() {
            break checked;
        }
    };
    screen.end();
    result
}

fn conclusion(report: &Report, time: Duration) -> String {
    let time = format::clock(time);
    match report.frames_missing {
        0 if report.frames_identical == report.frames_received => {
            format!("done after {time}: every frame arrived as it was sent")
        }
        missing => format!(
            "done after {time}: {missing} frames did not arrive, {} arrived otherwise than sent",
            report.frames_received - report.frames_identical
        ),
    }
}

/// Makes a folder that nobody else has.
fn fresh_folder() -> Result<PathBuf, Failure> {
    let name = format!("roomful-demo-{}-{:08x}", std::process::id(), rand::random::<u32>());
    let path = std::env::temp_dir().join(name);
    fs::create_dir(&path).map_err(|error| {
        let path = path.display();
        Failure::work(format!(
            "cannot make the folder {path}: {error}; set TMPDIR to one that you may write to"
        ))
    })?;
    Ok(path)
}

/// The room's unique name.
const ROOM: &str = "demo";

/// Who ends it before has not waited for what there is to see.
const TOO_EARLY: Duration = Duration::from_secs(2);
