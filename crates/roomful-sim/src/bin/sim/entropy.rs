//! Random bytes of the operating system, drawn from a seed in threads that ask for it.
//!
//! The order of every `HashMap` comes from such bytes, and str0m walks its streams in that order: which stream it repairs first decides
//! which packet a loss strikes. The standard library calls `getrandom` as a weak symbol, so that a program can put its own in that place;
//! there is no way to do so without `unsafe`. Only this development command does it: no library of ours, and no server, has this module.

#![expect(
    unsafe_code,
    reason = "a function that C code may call takes a pointer, and its name must be exported"
)]

use std::{cell::Cell, fs::File, io::Read, slice};

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Runs something in a thread of its own whose random bytes come from a seed. Panics where it does.
pub(crate) fn with_seed<T: Send + 'static>(seed: u64, run: impl FnOnce() -> T + Send + 'static) -> T {
    // Of its own, because the standard library draws a thread's keys once and keeps them.
    let thread = std::thread::spawn(move || {
        STATE.set(Some(seed));
        run()
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The `getrandom` of Linux.
///
/// # Safety
/// `buffer` points to `length` bytes that nobody else reads or writes meanwhile.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    if buffer.is_null() || length == 0 {
        return 0;
    }
    // SAFETY: the caller says so. Zeros make it memory that has been written to, which a reference may point to.
    let bytes = unsafe {
        buffer.write_bytes(0, length);
        slice::from_raw_parts_mut(buffer, length)
    };
    match fill(bytes) {
        Ok(()) => length.cast_signed(),
        Err(_) => -1,
    }
}

/// Fills with bytes of this thread's seed, if it has one, or else of the operating system.
fn fill(bytes: &mut [u8]) -> std::io::Result<()> {
    // A thread that ends may have no such variable any more.
    let Ok(Some(state)) = STATE.try_with(Cell::get) else {
        return File::open("/dev/urandom")?.read_exact(bytes);
    };
    let mut state = state;
    for chunk in bytes.chunks_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        chunk.copy_from_slice(&mixed(state).to_le_bytes()[..chunk.len()]);
    }
    STATE.set(Some(state));
    Ok(())
}

/// SplitMix64's output function (Steele, Lea, Flood 2014).
const fn mixed(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{collections::HashSet, thread};

    use roomful_sim::{MediaMode, Parameters, Report, World};

    use super::*;

    fn order() -> Vec<u32> {
        HashSet::<u32>::from_iter(0..1000).into_iter().collect()
    }

    #[test]
    fn tables_have_the_order_of_the_seed_and_only_where_one_is() {
        assert_eq!(with_seed(7, order), with_seed(7, order));
        assert_ne!(with_seed(7, order), with_seed(8, order));
        let unseeded = || thread::spawn(order).join().expect("no panic");
        assert_ne!(unseeded(), unseeded());
    }

    #[test]
    fn a_violation_ends_the_command() {
        let violation = std::panic::catch_unwind(|| with_seed(7, || panic!("seen")));
        assert_eq!(violation.expect_err("a panic").downcast_ref(), Some(&"seen"));
    }

    #[test]
    fn one_seed_with_real_media_twice_is_one_run() {
        let play = || -> Report {
            // A seed whose runs once differed where packets were lost; fewer people make it short.
            let parameters = Parameters { participants: 3, ..Parameters::from_seed(MediaMode::Real, 18) };
            println!("{parameters}");
            with_seed(parameters.seed, move || World::new(parameters).run())
        };
        let report = play();
        assert_ne!(report.frames_delivered, 0);
        assert_eq!(report, play());
    }
}
