//! What kind of run a seed means.

use std::{fmt, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use roomful_types::Bitrate;

use crate::{LinkConfig, NatConfig, NatFilter};

/// Everything that decides a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    /// Decides everything else, and every chance of the run.
    pub seed: u64,
    /// How media is done.
    pub media: MediaMode,
    /// How many participants there are.
    pub participants: usize,
    /// How long things go wrong, in virtual time.
    pub duration: Duration,
    /// The way between each participant and the server.
    pub link: LinkConfig,
    /// Whether all of that befalls only what the server sends: what participants send is only late.
    pub is_up_clean: bool,
    /// The NAT of each participant.
    pub nat: NatConfig,
    /// How often something goes wrong, on average; never when none.
    pub disturbance: Option<Duration>,
    /// How late the media shard's reports reach the deciding engine, at most.
    pub notice_delay: Duration,
    /// How late messages of the server are said, at most.
    pub delay: Duration,
    /// Share of the server's messages behind which the connection breaks.
    pub disconnect: f64,
    /// Share of the server's messages that are said behind the next one. No transport of ours does that.
    pub reorder: f64,
    /// Share of the server's messages that are said twice. No transport of ours does that either.
    pub repeat: f64,
    /// How many commands in a hundred are withdrawn.
    pub withdrawals: u32,
}

/// How media is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaMode {
    /// One packet per frame, handed over as a value.
    Faked,
    /// ICE, DTLS and RTP as on the wire, in datagrams.
    Real,
}

impl Parameters {
    /// Draws the parameters of a run from its seed. Each kind of trouble is there or not, so that runs differ in kind.
    #[must_use]
    pub fn from_seed(media: MediaMode, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed ^ 0x5eed);
        let mut maybe = |probability: f64| random.random_range(0.0..1.0) < probability;
        let [lossy, bursty, jittery, doubling, unordered, narrow, disturbed, late, fickle] =
            [0.5, 0.2, 0.5, 0.2, 0.2, 0.2, 0.7, 0.3, 0.4].map(&mut maybe);
        let mut draw = |is_on: bool, range: std::ops::Range<f64>| {
            if is_on { random.random_range(range) } else { 0.0 }
        };
        let link = LinkConfig {
            delay: Duration::from_secs_f64(draw(true, 0.0..0.15)),
            jitter: Duration::from_secs_f64(draw(jittery, 0.0..0.05)),
            loss: draw(lossy, 0.0..0.2),
            burst: draw(bursty, 0.0..0.01),
            burst_length: 1.0 + draw(bursty, 1.0..20.0),
            duplicate: draw(doubling, 0.0..0.1),
            reorder: draw(unordered, 0.0..0.1),
            rate: narrow.then(|| Bitrate::from_kbps(draw(true, 300.0..4000.0) as u64)),
            ..LinkConfig::default()
        };
        let filter = NatFilter::ALL[draw(true, 0.0..3.0) as usize];
        let nat = NatConfig { filter, lifetime: Duration::from_secs_f64(draw(true, 30.0..120.0)) };
        let disturbance = disturbed.then(|| Duration::from_secs_f64(draw(true, 0.5..6.0)));
        let notice_delay = Duration::from_secs_f64(draw(late, 0.0..0.2));
        let withdrawals = draw(fickle, 1.0..20.0) as u32;
        let participants = random.random_range(2..=6);
        let duration = Duration::from_secs(random.random_range(10..40));
        let delay = if random.random_bool(0.2) { random.random_range(0.0..0.3) } else { 0.0 };
        let disconnect = if random.random_bool(0.2) { random.random_range(0.0..0.02) } else { 0.0 };
        let is_up_clean = random.random_bool(0.3);
        let [reorder, repeat] =
            [(); 2].map(|()| if random.random_bool(0.15) { random.random_range(0.0..0.05) } else { 0.0 });
        Self {
            seed,
            media,
            participants,
            duration,
            link,
            is_up_clean,
            nat,
            disturbance,
            notice_delay,
            delay: Duration::from_secs_f64(delay),
            disconnect,
            reorder,
            repeat,
            withdrawals,
        }
    }
}

impl Parameters {
    /// Returns the way from each participant to the server.
    #[must_use]
    pub fn up(&self) -> LinkConfig {
        if self.is_up_clean { LinkConfig::delayed(self.link.delay) } else { self.link }
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            media,
            participants,
            duration,
            link,
            is_up_clean,
            nat,
            disturbance,
            notice_delay,
            delay: said_late,
            disconnect,
            reorder,
            repeat,
            withdrawals,
        } = self;
        let LinkConfig { delay, jitter, loss, burst, burst_length, duplicate, rate, .. } = link;
        write!(f, "seed {seed}: {participants} participants, {duration:?}, delay {delay:.0?}+{jitter:.0?}")?;
        write!(
            f,
            ", loss {loss:.3}, bursts {burst:.4} of {burst_length:.0}, duplicates {duplicate:.3}, out of order {:.3}",
            link.reorder
        )?;
        match rate {
            Some(rate) => write!(f, ", rate {rate}")?,
            None => write!(f, ", rate unlimited")?,
        }
        if *is_up_clean {
            write!(f, ", all of that downwards only")?;
        }
        let NatConfig { filter, lifetime } = nat;
        write!(f, ", NAT lets in {filter:?} for {lifetime:.0?}")?;
        match disturbance {
            Some(pause) => write!(f, ", a fault every {pause:.1?}")?,
            None => write!(f, ", no faults")?,
        }
        write!(
            f,
            ", messages {said_late:.0?} late, {disconnect:.3} of them break the connection, {reorder:.3} overtake, {repeat:.3} come twice"
        )?;
        write!(
            f,
            ", notices {notice_delay:.0?} late, {withdrawals} % withdrawn; replay: cargo xtask sim --seed {seed}"
        )?;
        match media {
            MediaMode::Faked => Ok(()),
            MediaMode::Real => write!(f, " --real"),
        }
    }
}
