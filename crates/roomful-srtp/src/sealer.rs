//! Sealing what one side sends.

use crate::{
    MasterKey,
    cipher::Ciphers,
    header::{RTCP_HEADER, RtpHeader, rtcp_sender},
    window::ReplayWindow,
};

/// Seals the packets of one direction.
///
/// A number that is sealed twice gives away both packets, and with AES-GCM the means to forge others. So each stream remembers the
/// numbers that it has sealed, and refuses them.
#[derive(Debug)]
pub struct Sealer {
    ciphers: Ciphers,
    streams: Vec<Stream>,
    packets: u64,
    next_rtcp: u32,
}

/// Names a stream of one [`Sealer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamHandle(usize);

/// Why a packet was not sealed. Nothing of it may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not a packet of this stream with this number, or no room behind it.
    #[error("not a packet of this stream, or there is no room for the tag behind it")]
    Malformed,
    /// The number was sealed before, or is so old that nobody knows.
    #[error("packet {0} was sealed before, or is too old to tell")]
    Reused(u64),
    /// There is a stream with this source already.
    #[error("source {0} has a stream already")]
    KnownSource(u32),
    /// The key has sealed as many packets as a key may (RFC 3711 §9.2); a new association is needed.
    #[error("the key has sealed as many packets as it may")]
    Exhausted,
}

/// The first stream of any sealer.
#[cfg(test)]
pub(crate) const FIRST: StreamHandle = StreamHandle(0);

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    sealed: ReplayWindow,
}

/// Numbers, and RTP packets, of one key (RFC 3711 §9.2).
const PACKETS_MAX: u64 = 1 << 48;
/// The same of RTCP.
const RTCP_MAX: u32 = 1 << 31;

impl Sealer {
    /// Makes a sealer for what is sent with this key, and takes the key: two sealers would not know of each other's numbers.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "so that there is one sealer per key")]
    pub fn new(master: MasterKey) -> Self {
        Self { ciphers: Ciphers::new(&master), streams: Vec::new(), packets: 0, next_rtcp: 0 }
    }

    /// Begins a stream. It lasts as long as the key.
    ///
    /// # Errors
    /// [`SealError::KnownSource`].
    pub fn add_stream(&mut self, ssrc: u32) -> Result<StreamHandle, SealError> {
        if self.streams.iter().any(|stream| stream.ssrc == ssrc) {
            return Err(SealError::KnownSource(ssrc));
        }
        self.streams.push(Stream { ssrc, sealed: ReplayWindow::new() });
        Ok(StreamHandle(self.streams.len() - 1))
    }

    /// Returns whether a number of a stream was sealed; of what is too old to tell, no.
    ///
    /// # Panics
    /// When the handle is another sealer's.
    #[must_use]
    pub fn has_sealed(&self, stream: StreamHandle, index: u64) -> bool {
        self.streams[stream.0].sealed.has(index)
    }

    /// Seals an RTP packet in place. Returns its length now.
    ///
    /// * `index`: the extended sequence number: how often it has wrapped, and the sequence number of the packet. Streams begin below
    ///   2^15, so that receivers know how often it has wrapped from the first packet on.
    /// * `buffer`: the packet in its first `length` bytes, and room for [`Profile::rtp_overhead`](crate::Profile::rtp_overhead) more.
    ///
    /// # Errors
    /// [`SealError::Malformed`], [`SealError::Reused`], [`SealError::Exhausted`].
    ///
    /// # Panics
    /// When the handle is another sealer's.
    pub fn seal_rtp(
        &mut self,
        stream: StreamHandle,
        index: u64,
        buffer: &mut [u8],
        length: usize,
    ) -> Result<usize, SealError> {
        let Self { ciphers, streams, packets, .. } = self;
        let stream = &mut streams[stream.0];
        let end = length + ciphers.profile.rtp_overhead();
        let header = buffer.get(..length).and_then(RtpHeader::parse).ok_or(SealError::Malformed)?;
        if header.ssrc != stream.ssrc || header.sequence != index as u16 || buffer.len() < end {
            return Err(SealError::Malformed);
        }
        if index >= PACKETS_MAX || *packets == PACKETS_MAX {
            return Err(SealError::Exhausted);
        }
        if !stream.sealed.is_new(index) {
            return Err(SealError::Reused(index));
        }
        stream.sealed.note(index);
        *packets += 1;
        ciphers.seal_rtp(header.ssrc, index, header.length, buffer, length);
        Ok(end)
    }

    /// Seals an RTCP packet, compound or not, in place. Returns its length now. Its number is the next one.
    ///
    /// * `buffer`: the packet in its first `length` bytes, and room for [`Profile::rtcp_overhead`](crate::Profile::rtcp_overhead) more.
    ///
    /// # Errors
    /// [`SealError::Malformed`], [`SealError::Exhausted`].
    pub fn seal_rtcp(&mut self, buffer: &mut [u8], length: usize) -> Result<usize, SealError> {
        let end = length + self.ciphers.profile.rtcp_overhead();
        let packet = buffer.get(..length).filter(|packet| packet.len() >= RTCP_HEADER);
        let ssrc = packet.and_then(rtcp_sender).ok_or(SealError::Malformed)?;
        if buffer.len() < end {
            return Err(SealError::Malformed);
        }
        if self.next_rtcp == RTCP_MAX {
            return Err(SealError::Exhausted);
        }
        let index = self.next_rtcp;
        self.next_rtcp += 1;
        self.ciphers.seal_rtcp(ssrc, index, buffer, length);
        Ok(end)
    }
}
