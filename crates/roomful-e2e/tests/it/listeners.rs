//! How events reach a program.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use roomful::{Event, EventKind, EventName, Message, Room};

use crate::harness::{World, eventually, names_until, within};

/// A listener that notes its name.
fn noting(
    calls: &Arc<Mutex<Vec<&'static str>>>,
    name: &'static str,
) -> impl Fn(&Event) + Send + Sync + 'static {
    let calls = calls.clone();
    move |_| calls.lock().expect("listeners that panic do not hold it").push(name)
}

/// Sends a broadcast and waits for its echo.
async fn echo(room: &Room) {
    let mut events = room.events();
    within(room.send_message(Message::text("echo"), None)).await.expect("is accepted");
    names_until(&mut events, "message_received").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_are_called_in_order_until_they_unsubscribe_whoever_panics() {
    let world = World::start().await;
    let room = world.join("alice").await;
    let calls = Arc::<Mutex<Vec<&'static str>>>::default();
    let name = EventName::MessageReceived;
    let first = room.on(name, noting(&calls, "first"));
    let panicking = room.on(name, |_| panic!("one listener's trouble"));
    let second = room.on(name, noting(&calls, "second"));
    let _ = room.on(name, noting(&calls, "third"));
    let _ = room.on(EventName::Disconnected, noting(&calls, "disconnected"));
    let take = || std::mem::take(&mut *calls.lock().expect("nobody panics with it"));

    echo(&room).await;
    assert_eq!(take(), ["first", "second", "third"]);
    first.unsubscribe();
    echo(&room).await;
    assert_eq!(take(), ["second", "third"]);
    panicking.unsubscribe();
    // Dropping the handle leaves the listener in place.
    drop(second);
    echo(&room).await;
    assert_eq!(take(), ["second", "third"]);
    within(room.disconnect()).await.expect("leaves");
    assert_eq!(take(), ["disconnected"]);
    within(room.connect()).await.expect("joins again");
    echo(&room).await;
    assert_eq!(take(), ["second", "third"], "listeners outlive a stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_is_under_way_once_unsubscribing_returns() {
    let world = World::start_with(|config| config.sfu.message_burst = 1000).await;
    let room = world.join("alice").await;
    for _ in 0..20 {
        let (entered, left) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (in_call, out_of_call) = (entered.clone(), left.clone());
        let listener = room.on(EventName::MessageReceived, move |_| {
            in_call.fetch_add(1, Ordering::SeqCst);
            std::thread::yield_now();
            out_of_call.fetch_add(1, Ordering::SeqCst);
        });
        let sending = async {
            for _ in 0..5 {
                within(room.send_message(Message::text("go"), None)).await.expect("is accepted");
            }
        };
        let unsubscribing = async {
            eventually(|| entered.load(Ordering::SeqCst) > 0).await;
            listener.unsubscribe();
            let calls = entered.load(Ordering::SeqCst);
            assert_eq!(left.load(Ordering::SeqCst), calls);
            calls
        };
        let ((), calls) = tokio::join!(sending, unsubscribing);
        echo(&room).await;
        assert_eq!(entered.load(Ordering::SeqCst), calls, "none after unsubscribing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_of_events_loses_nothing_up_to_the_bound_and_is_then_told() {
    let world = World::start_with(|config| {
        (config.sfu.request_burst, config.sfu.message_burst) = (10_000, 10_000);
    })
    .await;
    let room = world.join("alice").await;
    // 4,096 events may wait, as documented; a message is one.
    let mut waiting = room.events();
    let sent = Arc::new(AtomicU64::new(0));
    let counter = sent.clone();
    let _ = room.on(EventName::MessageReceived, move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let send = async |count: u64| {
        for first in (0..count).step_by(64) {
            let batch = (first..count.min(first + 64)).map(|_| room.send_message(Message::text("x"), None));
            for result in within(futures_util::future::join_all(batch)).await {
                result.expect("is accepted");
            }
        }
    };
    send(4096).await;
    eventually(|| sent.load(Ordering::SeqCst) == 4096).await;
    for _ in 0..4096 {
        let event = within(waiting.recv()).await.expect("the room lives");
        assert_eq!(event.name(), "message_received");
    }
    send(4096 + 10).await;
    eventually(|| sent.load(Ordering::SeqCst) == 2 * 4096 + 10).await;
    let event = within(waiting.recv()).await.expect("the room lives");
    assert_eq!(event.kind, EventKind::Lagged { missed: 10 });
    assert_eq!(event.state.participants().len(), 1);
    for _ in 0..4096 {
        assert_eq!(within(waiting.recv()).await.expect("the room lives").name(), "message_received");
    }
}
