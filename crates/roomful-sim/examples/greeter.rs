//! A bot that greets whoever joins, and its test: 20 % loss and an outage of 30 s, in well under a second of real time.

use std::time::{Duration, Instant};

use roomful::{EventKind, Message, Room};
use roomful_sim::{
    LinkConfig,
    sdk::{FakeServer, FakeServerConfig},
};

/// The program under test. In production its room comes from `Room::new`.
async fn greet(room: Room) -> Result<(), roomful::Error> {
    let mut events = room.events();
    room.connect().await?;
    while let Some(event) = events.recv().await {
        if let EventKind::ParticipantJoined { participant } = event.kind {
            room.send_message(Message::text("welcome"), Some(vec![participant])).await?;
        }
    }
    Ok(())
}

async fn test() {
    let server = FakeServer::start(FakeServerConfig::default());
    let lossy = LinkConfig { loss: 0.2, ..LinkConfig::delayed(Duration::from_millis(40)) };
    let (bots, visitors) = (server.network(lossy), server.network(LinkConfig::default()));
    let bot = server.room("bot", &bots);
    tokio::spawn(greet(bot.clone()));
    while bot.local_participant().is_none() {
        server.pass(Duration::from_millis(10)).await;
    }

    // The bot's network dies for half a minute, and somebody joins meanwhile.
    bots.set_down(true);
    server.pass(Duration::from_secs(10)).await;
    let visitor = server.room("visitor", &visitors);
    let mut events = visitor.events();
    visitor.connect().await.expect("joins");
    server.pass(Duration::from_secs(20)).await;
    bots.set_down(false);

    let greeting = async {
        loop {
            let event = events.recv().await.expect("the visitor's room lives");
            if let EventKind::MessageReceived { message, .. } = event.kind {
                return message.payload.to_string();
            }
        }
    };
    let greeting = tokio::time::timeout(Duration::from_secs(60), greeting).await;
    assert_eq!(greeting.expect("the bot comes back").as_str(), "welcome");
}

#[expect(clippy::print_stdout, reason = "an example shows what it did")]
fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let start = Instant::now();
    let virtual_time = runtime.expect("a runtime").block_on(async {
        let start = tokio::time::Instant::now();
        test().await;
        start.elapsed()
    });
    println!("greeted after {virtual_time:.1?} of virtual time, in {:.0?}", start.elapsed());
}

#[test]
fn the_bot_greets_after_an_outage() {
    main();
}
