//! Datagrams on their way out: runs of equal size to one destination leave in one call.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
};

use crate::socket::Socket;

/// Collects datagrams and sends them as few, long runs. The order to each destination is kept.
#[derive(Debug, Default)]
pub struct Batch {
    run: Option<Run>,
    /// Contents of the run; kept between runs so that it is allocated once.
    contents: Vec<u8>,
    /// Runs that the socket refused, oldest first.
    refused: VecDeque<(Run, Vec<u8>)>,
    refused_bytes: usize,
    dropped: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    source: IpAddr,
    destination: SocketAddr,
    segment: usize,
    count: usize,
    /// Whether its last datagram is shorter, so that none may follow.
    is_closed: bool,
}

/// Bytes that wait for a full socket; more are dropped, as a full network would. A shard seals no more than half of it at once.
const REFUSED_MAX: usize = 8 << 20;

/// Longest run in bytes: what fits one UDP datagram before segmentation.
const RUN_MAX: usize = 65_000;

impl Batch {
    /// Makes an empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a datagram, and sends the run before it if it does not belong to it.
    pub fn push(&mut self, socket: &Socket, source: IpAddr, destination: SocketAddr, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let fits = self.run.is_some_and(|run| {
            let is_same_way = (run.source, run.destination) == (source, destination);
            let has_room = run.count < socket.max_segments() && self.contents.len() + bytes.len() <= RUN_MAX;
            is_same_way && has_room && !run.is_closed && bytes.len() <= run.segment
        });
        if !fits {
            self.send_run(socket);
            self.run = Some(Run { source, destination, segment: bytes.len(), count: 0, is_closed: false });
        }
        if let Some(run) = &mut self.run {
            run.count += 1;
            run.is_closed = bytes.len() < run.segment;
            self.contents.extend_from_slice(bytes);
        }
    }

    /// Sends a run that is put together already: datagrams of `segment` bytes, of which the last may be shorter. What was pushed before
    /// leaves before.
    pub fn push_run(
        &mut self,
        socket: &Socket,
        source: IpAddr,
        destination: SocketAddr,
        segment: usize,
        bytes: &[u8],
    ) {
        self.send_run(socket);
        for contents in bytes.chunks(segment.saturating_mul(socket.max_segments()).max(1)) {
            let count = contents.len().div_ceil(segment);
            self.send_or_keep(socket, Run { source, destination, segment, count, is_closed: true }, contents);
        }
    }

    /// Sends everything, first what was refused earlier.
    pub fn flush(&mut self, socket: &Socket) {
        while let Some((run, contents)) = self.refused.front() {
            if is_refused(socket.send(run.source, run.destination, contents, run.segment)) {
                break;
            }
            self.refused_bytes -= contents.len();
            self.refused.pop_front();
        }
        self.send_run(socket);
    }

    /// Returns whether something waits for the socket to be writable.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Returns how many datagrams were dropped because the socket stayed full.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn send_run(&mut self, socket: &Socket) {
        let Some(run) = self.run.take() else { return };
        let contents = std::mem::take(&mut self.contents);
        self.send_or_keep(socket, run, &contents);
        self.contents = contents;
        self.contents.clear();
    }

    fn send_or_keep(&mut self, socket: &Socket, run: Run, contents: &[u8]) {
        let must_wait = !self.refused.is_empty();
        if must_wait || is_refused(socket.send(run.source, run.destination, contents, run.segment)) {
            if self.refused_bytes + contents.len() <= REFUSED_MAX {
                self.refused_bytes += contents.len();
                self.refused.push_back((run, contents.to_vec()));
            } else {
                self.dropped += run.count as u64;
            }
        }
    }
}

/// Returns whether to try again later. Any other error is about this destination alone, and the network's to repair.
fn is_refused(result: io::Result<()>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
