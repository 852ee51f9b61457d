//! The wish to end, as a future: Ctrl-C, SIGTERM, the end of a given time, or another part of the program.

use std::time::Duration;

use tokio::sync::watch;

use crate::{failure::Failure, output};

/// Waits for the wish to end. Cheap to clone; every clone is told.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    receiver: watch::Receiver<bool>,
}

/// Tells every [`Stop`] of its pair. Dropping it without a word leaves them waiting.
#[derive(Debug, Clone)]
pub(crate) struct Stopper {
    sender: watch::Sender<bool>,
}

impl Stopper {
    /// Makes a pair.
    pub(crate) fn new() -> (Self, Stop) {
        let (sender, receiver) = watch::channel(false);
        (Self { sender }, Stop { receiver })
    }

    /// Tells that it is time to end.
    pub(crate) fn stop(&self) {
        self.sender.send_replace(true);
    }
}

impl Stop {
    /// Waits for Ctrl-C or SIGTERM from now on. The second one ends the program at once.
    pub(crate) fn on_interrupt() -> Result<Self, Failure> {
        let mut signals = Signals::new().map_err(|error| {
            Failure::work(format!("cannot listen for Ctrl-C: {error}; run it outside of this sandbox"))
        })?;
        let (stopper, stop) = Stopper::new();
        tokio::spawn(async move {
            signals.recv().await;
            stopper.stop();
            signals.recv().await;
            output::note("roomful: ended at once, as asked twice");
            std::process::exit(130);
        });
        Ok(stop)
    }

    /// Waits until it is time to end.
    pub(crate) async fn wait(&self) {
        let mut receiver = self.receiver.clone();
        if receiver.wait_for(|stopped| *stopped).await.is_err() {
            // Whoever could have told is gone.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until it is time to end, or the given seconds are over.
    pub(crate) async fn wait_or(&self, seconds: Option<u64>) {
        let Some(seconds) = seconds else { return self.wait().await };
        tokio::select! {
            () = self.wait() => {}
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
        }
    }

    /// Returns whether it is time to end.
    pub(crate) fn is_stopped(&self) -> bool {
        *self.receiver.borrow()
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn recv(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_is_told_now_and_later() {
        let (stopper, stop) = Stopper::new();
        let other = stop.clone();
        assert!(!stop.is_stopped());
        stopper.stop();
        stop.wait().await;
        drop(stopper);
        other.wait().await;
        other.wait_or(Some(1000)).await;
        assert!(other.is_stopped());
    }
}
