//! Opening what the other side sends.

use std::{collections::BTreeMap, ops::Range};

use crate::{
    MasterKey,
    cipher::{Ciphers, ENCRYPTED},
    header::{RtpHeader, rtcp_sender},
    window::ReplayWindow,
};

/// Opens the packets of one direction.
#[derive(Debug)]
pub struct Opener {
    ciphers: Ciphers,
    rtp: BTreeMap<u32, ReplayWindow>,
    rtcp: BTreeMap<u32, ReplayWindow>,
}

/// An RTP packet that is authentic and new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenedRtp {
    /// Who sends it.
    pub ssrc: u32,
    /// Its extended sequence number (RFC 3711 §3.3.1).
    pub index: u64,
    /// Length of its header, contributing sources and extensions included.
    pub header: usize,
    /// Its length without the tag.
    pub length: usize,
}

/// Why a packet was not opened. It is dropped; its bytes mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not an RTP or RTCP packet, or too short to be sealed.
    #[error("not a packet")]
    Malformed,
    /// Not what its sender sealed.
    #[error("the packet is not authentic")]
    Forged,
    /// It was there before, or is so old that nobody knows.
    #[error("the packet was there before, or is too old to tell")]
    Replayed,
    /// It is authentic, and of one source too many.
    #[error("more sources than are followed")]
    TooManySources,
}

/// Sources followed per direction: as many as a stay may have sections, with three encodings and repairs each, and some more. None is ever
/// forgotten: what it sent could be played again. A client that wants to can make us keep some 600 KB in each table.
const SOURCES_MAX: usize = 4096;

/// One more than the highest index (RFC 3711 §3.3.1).
const INDICES: u64 = 1 << 48;

impl OpenedRtp {
    /// Where the payload is, padding included.
    #[must_use]
    pub const fn payload(&self) -> Range<usize> {
        self.header..self.length
    }
}

impl Opener {
    /// Makes an opener for what comes with this key.
    #[must_use]
    pub fn new(master: &MasterKey) -> Self {
        Self { ciphers: Ciphers::new(master), rtp: BTreeMap::new(), rtcp: BTreeMap::new() }
    }

    /// Opens an RTP packet in place.
    ///
    /// # Errors
    /// [`OpenError`]; nothing about the packet is remembered then.
    pub fn open_rtp(&mut self, packet: &mut [u8]) -> Result<OpenedRtp, OpenError> {
        let header = RtpHeader::parse(packet).ok_or(OpenError::Malformed)?;
        let window = self.rtp.get(&header.ssrc);
        let highest = window.and_then(ReplayWindow::highest);
        let index = estimate(highest, header.sequence).ok_or(OpenError::Replayed)?;
        if window.is_some_and(|window| !window.is_new(index)) {
            return Err(OpenError::Replayed);
        }
        let length = self.ciphers.open_rtp(header.ssrc, index, header.length, packet);
        let length = length.map_err(|_| OpenError::Forged)?;
        note(&mut self.rtp, header.ssrc, index)?;
        Ok(OpenedRtp { ssrc: header.ssrc, index, header: header.length, length })
    }

    /// Opens an RTCP packet in place. Returns its length without index and tag.
    ///
    /// # Errors
    /// [`OpenError`]; nothing about the packet is remembered then.
    pub fn open_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, OpenError> {
        let ssrc = rtcp_sender(packet).ok_or(OpenError::Malformed)?;
        let word = self.ciphers.rtcp_word(packet).ok_or(OpenError::Malformed)?;
        if word & ENCRYPTED == 0 {
            return Err(OpenError::Malformed);
        }
        let index = word & !ENCRYPTED;
        if self.rtcp.get(&ssrc).is_some_and(|window| !window.is_new(index.into())) {
            return Err(OpenError::Replayed);
        }
        let length = self.ciphers.open_rtcp(ssrc, index, packet).map_err(|_| OpenError::Forged)?;
        note(&mut self.rtcp, ssrc, index.into())?;
        Ok(length)
    }
}

/// Remembers an authentic packet.
fn note(windows: &mut BTreeMap<u32, ReplayWindow>, ssrc: u32, index: u64) -> Result<(), OpenError> {
    if windows.len() == SOURCES_MAX && !windows.contains_key(&ssrc) {
        return Err(OpenError::TooManySources);
    }
    windows.entry(ssrc).or_default().note(index);
    Ok(())
}

/// Returns the index with this sequence number that is nearest to the highest one so far (RFC 3711 §3.3.1, appendix A); none when it
/// would be before the first or after the last. A source that is new has not wrapped yet.
fn estimate(highest: Option<u64>, sequence: u16) -> Option<u64> {
    let Some(highest) = highest else { return Some(sequence.into()) };
    let distance = sequence.wrapping_sub(highest as u16).cast_signed();
    highest.checked_add_signed(distance.into()).filter(|index| *index < INDICES)
}
