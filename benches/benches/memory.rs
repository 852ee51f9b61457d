//! What a room's state takes in memory: bytes per participant with one stream, beside its own strings.
//!
//! Prints `{"memory/participant/10000": {"bytes": …}}`. Not timed.

#![expect(clippy::print_stdout, reason = "the figure is what it is run for")]

mod rooms;

use roomful_state::State;

#[global_allocator]
static HEAP: dhat::Alloc = dhat::Alloc;

const PARTICIPANTS: usize = 10_000;

/// Bytes that a participant with one stream may take.
const MOST: usize = 450;

fn main() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let before = dhat::HeapStats::get().curr_bytes;
    let state = rooms::everybody(PARTICIPANTS);
    let all = dhat::HeapStats::get().curr_bytes - before - strings(&state);
    assert!(all / PARTICIPANTS <= MOST, "{} bytes per participant, {MOST} are allowed", all / PARTICIPANTS);
    println!("{{\"memory/participant/{PARTICIPANTS}\": {{\"bytes\": {}}}}}", all / PARTICIPANTS);
}

/// The strings of all participants and their streams, with the two counters of the `Arc` that holds each.
fn strings(state: &State) -> usize {
    let counters = 2 * size_of::<usize>();
    let identities = state.participants().filter_map(|participant| participant.identity.as_ref());
    let keys = state.streams().map(|stream| counters + stream.key.as_str().len());
    identities.map(|identity| counters + identity.len()).sum::<usize>() + keys.sum::<usize>()
}
