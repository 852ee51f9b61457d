//! What waits for one client, bounded in bytes: many short messages at once are no sign of a slow reader.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use roomful_protocol::limits;
use tokio::sync::mpsc;

/// What may wait for one client. It is cut off when there is more: the engine waits for nobody. Twice the longest message, so that what
/// follows a snapshot of the largest room has as much room again.
const WAITING_MAX: usize = 2 * limits::SIGNAL_TO_CLIENT_MAX;

/// What a message takes beside its bytes.
const OVERHEAD: usize = 64;

/// What a client's connection does.
#[derive(Debug)]
enum Outgoing {
    /// Say this.
    Message(Bytes),
    /// End the connection.
    Close,
}

/// Makes the two ends of a client's queue.
pub(crate) fn queue() -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (Sender { messages: sender, waiting: Arc::clone(&waiting) }, Receiver { messages: receiver, waiting })
}

/// The engine's end. Without it the connection ends.
#[derive(Debug)]
pub(crate) struct Sender {
    messages: mpsc::UnboundedSender<Outgoing>,
    waiting: Arc<AtomicUsize>,
}

/// The connection's end.
#[derive(Debug)]
pub(crate) struct Receiver {
    messages: mpsc::UnboundedReceiver<Outgoing>,
    waiting: Arc<AtomicUsize>,
}

impl Sender {
    /// Lets the client be told this; false when too much waits already, or the connection is gone.
    pub(crate) fn tell(&self, message: Bytes) -> bool {
        let size = message.len() + OVERHEAD;
        self.waiting.fetch_add(size, Ordering::Relaxed) + size <= WAITING_MAX
            && self.messages.send(Outgoing::Message(message)).is_ok()
    }

    /// Ends the connection after what was told before.
    pub(crate) fn close(&self) {
        // It may be gone already.
        let _ = self.messages.send(Outgoing::Close);
    }
}

impl Receiver {
    /// Returns what to say next; none when the connection is to end.
    pub(crate) async fn recv(&mut self) -> Option<Bytes> {
        match self.messages.recv().await? {
            Outgoing::Message(message) => Some(message),
            Outgoing::Close => None,
        }
    }

    /// A message of this length was said.
    pub(crate) fn said(&self, length: usize) {
        self.waiting.fetch_sub(length + OVERHEAD, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn thousands_of_short_messages_may_wait_and_a_few_long_ones_too_many_may_not() {
        let (sender, mut receiver) = queue();
        for _ in 0..100_000 {
            assert!(sender.tell(Bytes::from_static(b"short")));
        }
        for _ in 0..100_000 {
            let message = receiver.recv().await.expect("was told");
            receiver.said(message.len());
        }
        let long = Bytes::from(vec![0; limits::SIGNAL_TO_CLIENT_MAX - OVERHEAD]);
        assert!(sender.tell(long.clone()));
        assert!(sender.tell(long.clone()));
        assert!(!sender.tell(Bytes::new()));
        sender.close();
        assert_eq!(receiver.recv().await.as_ref(), Some(&long));
        assert_eq!(receiver.recv().await.as_ref(), Some(&long));
        assert_eq!(receiver.recv().await, None);
    }
}
