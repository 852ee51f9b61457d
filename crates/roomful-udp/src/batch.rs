//! Datagrams on their way out: runs of equal size to one destination leave in one call.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use crate::socket::Socket;

/// Collects datagrams and sends them as few, long runs. The order to each destination is kept.
#[derive(Debug, Default)]
pub struct Batch {
    run: Option<Run>,
    /// Contents of the run; kept between runs so that it is allocated once.
    contents: Vec<u8>,
    /// Runs that the socket refused, oldest first, and when it was seen first that they wait.
    refused: VecDeque<(Run, Vec<u8>, Option<Instant>)>,
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

/// Bytes that wait for a full socket; more are dropped, as a full network would. A shard seals far less at once.
const REFUSED_MAX: usize = 8 << 20;

/// How long they may wait: later nobody can use them, and what was forwarded by then may be withheld by now.
const REFUSED_TIME: Duration = Duration::from_millis(500);

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
        self.push_on(socket, source, destination, bytes);
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
        self.push_run_on(socket, source, destination, segment, bytes);
    }

    /// Sends everything, first what was refused earlier. What has waited for half a second is dropped.
    pub fn flush(&mut self, socket: &Socket, now: Instant) {
        self.flush_on(socket, now);
    }

    fn push_on(&mut self, link: &impl Link, source: IpAddr, destination: SocketAddr, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let fits = self.run.is_some_and(|run| {
            let is_same_way = (run.source, run.destination) == (source, destination);
            let has_room = run.count < link.max_segments() && self.contents.len() + bytes.len() <= RUN_MAX;
            is_same_way && has_room && !run.is_closed && bytes.len() <= run.segment
        });
        if !fits {
            self.send_run(link);
            self.run = Some(Run { source, destination, segment: bytes.len(), count: 0, is_closed: false });
        }
        if let Some(run) = &mut self.run {
            run.count += 1;
            run.is_closed = bytes.len() < run.segment;
            self.contents.extend_from_slice(bytes);
        }
    }

    fn push_run_on(
        &mut self,
        link: &impl Link,
        source: IpAddr,
        destination: SocketAddr,
        segment: usize,
        bytes: &[u8],
    ) {
        self.send_run(link);
        let count = bytes.len().div_ceil(segment.max(1));
        self.send_or_keep(link, Run { source, destination, segment, count, is_closed: true }, bytes);
    }

    fn flush_on(&mut self, link: &impl Link, now: Instant) {
        for (.., since) in self.refused.iter_mut().rev().take_while(|(.., since)| since.is_none()) {
            *since = Some(now);
        }
        let is_late = |since: Option<Instant>| since.is_some_and(|since| now >= since + REFUSED_TIME);
        while let Some((run, contents, _)) = self.refused.pop_front_if(|(.., since)| is_late(*since)) {
            self.refused_bytes -= contents.len();
            self.dropped += contents.len().div_ceil(run.segment.max(1)) as u64;
        }
        while let Some((run, contents, _)) = self.refused.front_mut() {
            let sent = send(link, *run, contents);
            self.refused_bytes -= sent;
            if sent < contents.len() {
                contents.drain(..sent);
                break;
            }
            self.refused.pop_front();
        }
        self.send_run(link);
    }

    /// Returns whether something waits for the socket to be writable.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Returns how many datagrams were dropped because the socket stayed full, or was for too long.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn send_run(&mut self, link: &impl Link) {
        let Some(run) = self.run.take() else { return };
        let contents = std::mem::take(&mut self.contents);
        self.send_or_keep(link, run, &contents);
        self.contents = contents;
        self.contents.clear();
    }

    fn send_or_keep(&mut self, link: &impl Link, run: Run, contents: &[u8]) {
        let sent = if self.refused.is_empty() { send(link, run, contents) } else { 0 };
        let rest = &contents[sent..];
        if rest.is_empty() {
            return;
        }
        if self.refused_bytes + rest.len() <= REFUSED_MAX {
            self.refused_bytes += rest.len();
            self.refused.push_back((run, rest.to_vec(), None));
        } else {
            self.dropped += rest.len().div_ceil(run.segment.max(1)) as u64;
        }
    }
}

/// Where datagrams leave.
pub(crate) trait Link {
    /// Sends datagrams of `segment` bytes, of which the last may be shorter, in one call.
    fn send(
        &self,
        source: IpAddr,
        destination: SocketAddr,
        contents: &[u8],
        segment: usize,
    ) -> io::Result<()>;

    /// Returns how many datagrams one call may have, at this moment.
    fn max_segments(&self) -> usize;
}

/// Sends a run in as few calls as the system takes. Returns how many bytes need not be sent again: all, unless there is no room for the rest.
fn send(link: &impl Link, run: Run, contents: &[u8]) -> usize {
    let Run { source, destination, segment, .. } = run;
    let (segment, mut sent) = (segment.max(1), 0);
    let mut at_once = usize::MAX;
    while sent < contents.len() {
        // The system may find out only now that it cannot send several at once.
        let length = segment.saturating_mul(link.max_segments().min(at_once).max(1));
        let part = &contents[sent..contents.len().min(sent + length)];
        match link.send(source, destination, part, segment) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return sent,
            // Perhaps one of them is at fault, or sending several is.
            Err(_) if part.len() > segment => at_once = 1,
            // An error of one is about this destination alone, and the network's to repair.
            Ok(()) | Err(_) => sent += part.len(),
        }
    }
    sent
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use proptest::prelude::*;

    use super::*;

    /// A system with limits.
    struct Limited {
        /// Datagrams per call that it says it takes, and that it does take.
        says: usize,
        takes: usize,
        /// Calls until it is full.
        room: Cell<usize>,
        sent: RefCell<Vec<(SocketAddr, Vec<u8>)>>,
    }

    impl Link for Limited {
        fn send(
            &self,
            _: IpAddr,
            destination: SocketAddr,
            contents: &[u8],
            segment: usize,
        ) -> io::Result<()> {
            if contents.len() > segment * self.takes {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            if self.room.get() == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room.set(self.room.get() - 1);
            self.sent.borrow_mut().extend(contents.chunks(segment).map(|one| (destination, one.to_vec())));
            Ok(())
        }

        fn max_segments(&self) -> usize {
            self.says
        }
    }

    #[test]
    fn what_waits_for_too_long_never_leaves() {
        let link = Limited { says: 8, takes: 8, room: Cell::new(0), sent: RefCell::new(Vec::new()) };
        let (source, destination) = ([127, 0, 0, 1].into(), ([127, 0, 0, 1], 7).into());
        let (mut batch, start) = (Batch::new(), Instant::now());
        batch.push_run_on(&link, source, destination, 2, b"aabbc");
        batch.flush_on(&link, start);
        batch.push_run_on(&link, source, destination, 2, b"dd");
        batch.flush_on(&link, start + REFUSED_TIME - Duration::from_millis(1));
        assert!(batch.is_waiting());
        link.room.set(9);
        batch.flush_on(&link, start + REFUSED_TIME);
        let sent: Vec<Vec<u8>> = link.sent.into_inner().into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!((sent, batch.dropped(), batch.is_waiting()), (vec![b"dd".to_vec()], 3, false));
    }

    proptest! {
        #[test]
        fn whatever_a_system_can_the_same_datagrams_leave_in_the_same_order(
            runs in prop::collection::vec((1..4_u16, 1..40_usize, 1..60_usize, any::<bool>()), 1..30),
            says in 1..9_usize,
            takes in 1..9_usize,
            room in 1..6_usize,
        ) {
            let link = Limited { says, takes, room: Cell::new(0), sent: RefCell::new(Vec::new()) };
            let now = Instant::now();
            let (source, mut batch, mut expected) = ([127, 0, 0, 1].into(), Batch::new(), Vec::new());
            for (number, (port, segment, length, is_one_run)) in runs.into_iter().enumerate() {
                let destination = SocketAddr::from(([127, 0, 0, 1], port));
                let contents: Vec<u8> = (0..length).map(|at| (number * 7 + at) as u8).collect();
                expected.extend(contents.chunks(segment).map(|one| (destination, one.to_vec())));
                if is_one_run {
                    batch.push_run_on(&link, source, destination, segment, &contents);
                } else {
                    contents.chunks(segment).for_each(|one| batch.push_on(&link, source, destination, one));
                }
                link.room.set(number % room);
            }
            for _ in 0..10_000 {
                link.room.set(room);
                batch.flush_on(&link, now);
                if !batch.is_waiting() && batch.run.is_none() {
                    break;
                }
            }
            prop_assert_eq!((batch.refused_bytes, batch.dropped()), (0, 0));
            let mut sent = link.sent.into_inner();
            // The order holds for each destination.
            sent.sort_by_key(|(destination, _)| *destination);
            expected.sort_by_key(|(destination, _)| *destination);
            prop_assert_eq!(sent, expected);
        }
    }
}
