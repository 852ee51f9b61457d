//! Datagrams on their way out, one behind the other in memory that is used again and again.

use std::{net::SocketAddr, ops::Range};

/// What leaves in one turn of a shard. Datagrams of one size to one destination that follow each other are one run, which a system
/// with segmentation offload sends at once.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    runs: Vec<Run>,
    /// How many runs were taken out.
    taken: usize,
}

/// Datagrams to one destination: all of `segment` bytes, but the last may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagrams<'a> {
    /// Address and port of ours to send from.
    pub source: SocketAddr,
    /// Where to send to.
    pub destination: SocketAddr,
    /// Bytes of each datagram.
    pub segment: usize,
    /// The datagrams, one behind the other. Never empty.
    pub bytes: &'a [u8],
}

impl<'a> Datagrams<'a> {
    /// Returns them one by one.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks(self.segment)
    }
}

/// From us to a peer: our address, and its.
pub(super) type Path = (SocketAddr, SocketAddr);

#[derive(Debug)]
struct Run {
    path: Path,
    segment: usize,
    range: Range<usize>,
    /// Whether its last datagram is shorter, so that none may follow.
    is_closed: bool,
}

/// Longest run in bytes: what fits one UDP datagram before segmentation.
const RUN_MAX: usize = 65_000;

impl Outgoing {
    /// Makes an empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to add datagrams on a path.
    pub(super) fn to(&mut self, path: Path) -> Lane<'_> {
        if self.taken == self.runs.len() {
            self.bytes.clear();
            self.runs.clear();
            self.taken = 0;
        }
        // What was taken out does not grow any more.
        let goes_on = self.runs.len() > self.taken && self.runs.last().is_some_and(|run| run.path == path);
        Lane { outgoing: self, path, goes_on }
    }

    /// Returns how many bytes have not been taken out.
    #[must_use]
    pub fn len(&self) -> usize {
        let first = self.runs.get(self.taken).map_or(self.bytes.len(), |run| run.range.start);
        self.bytes.len() - first
    }

    /// Returns whether everything was taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the next run out.
    pub fn next_run(&mut self) -> Option<Datagrams<'_>> {
        let Run { path: (source, destination), segment, range, .. } = self.runs.get(self.taken)?;
        self.taken += 1;
        let bytes = &self.bytes[range.clone()];
        Some(Datagrams { source: *source, destination: *destination, segment: *segment, bytes })
    }
}

/// Adds datagrams on one path.
#[derive(Debug)]
pub(super) struct Lane<'a> {
    outgoing: &'a mut Outgoing,
    path: Path,
    /// Whether the last run is on this path.
    goes_on: bool,
}

impl Lane<'_> {
    /// Adds a datagram that `write` puts behind what is there; what it returns `None` for is none.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Option<()>) {
        let Self { outgoing: Outgoing { bytes, runs, .. }, path, goes_on } = self;
        let start = bytes.len();
        if write(bytes).is_none() {
            bytes.truncate(start);
        }
        let length = bytes.len().saturating_sub(start);
        if length == 0 {
            return;
        }
        let end = start + length;
        let fits = |run: &&mut Run| {
            let has_room = end - run.range.start <= RUN_MAX;
            *goes_on && has_room && !run.is_closed && length <= run.segment
        };
        match runs.last_mut().filter(fits) {
            Some(run) => {
                run.range.end = end;
                run.is_closed = length < run.segment;
            }
            None => {
                runs.push(Run { path: *path, segment: length, range: start..end, is_closed: false });
                *goes_on = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(port: u16) -> Path {
        (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], port).into())
    }

    fn put(outgoing: &mut Outgoing, port: u16, length: usize) {
        outgoing.to(path(port)).push(|bytes| {
            bytes.resize(bytes.len() + length, port as u8);
            Some(())
        });
    }

    fn runs(outgoing: &mut Outgoing) -> Vec<(u16, Vec<usize>)> {
        let mut runs = Vec::new();
        while let Some(run) = outgoing.next_run() {
            assert!(
                run.iter().all(|datagram| datagram.iter().all(|byte| *byte == run.destination.port() as u8))
            );
            runs.push((run.destination.port(), run.iter().map(<[u8]>::len).collect()));
        }
        runs
    }

    #[test]
    fn equal_sizes_to_one_destination_are_one_run_that_a_shorter_one_ends() {
        let mut outgoing = Outgoing::new();
        for (port, length) in [(1, 9), (1, 9), (1, 5), (1, 5), (2, 5), (1, 6), (1, 7)] {
            put(&mut outgoing, port, length);
        }
        outgoing.to(path(3)).push(|_| None);
        assert_eq!(
            runs(&mut outgoing),
            [(1, vec![9, 9, 5]), (1, vec![5]), (2, vec![5]), (1, vec![6]), (1, vec![7])]
        );
        put(&mut outgoing, 1, 7);
        assert_eq!(runs(&mut outgoing), [(1, vec![7])]);
    }

    proptest! {
        #[test]
        fn every_datagram_leaves_once_and_in_order(steps in prop::collection::vec((1..4_u16, 0..1500_usize, 0..9_u8), 0..300)) {
            let (mut outgoing, mut put_in, mut came_out) = (Outgoing::new(), Vec::new(), Vec::new());
            for (port, length, what) in steps {
                if what == 0 {
                    came_out.extend(runs(&mut outgoing));
                }
                put(&mut outgoing, port, length);
                put_in.extend((length > 0).then_some((port, length)));
            }
            came_out.extend(runs(&mut outgoing));
            let came_out: Vec<(u16, usize)> = came_out
                .into_iter()
                .flat_map(|(port, lengths)| lengths.into_iter().map(move |length| (port, length)))
                .collect();
            prop_assert_eq!(came_out, put_in);
        }
    }
}
