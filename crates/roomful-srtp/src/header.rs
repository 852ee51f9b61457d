//! As much of RTP and RTCP headers as encryption has to know (RFC 3550 §5.1, §6.4).

/// What an RTP header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RtpHeader {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    /// Its length with contributing sources and extensions, which are not encrypted.
    pub(crate) length: usize,
}

/// The part of an RTCP packet that is not encrypted: its first header, and who sends it (RFC 3711 §3.4).
pub(crate) const RTCP_HEADER: usize = 8;

const FIXED: usize = 12;

impl RtpHeader {
    /// Reads a header; none where there is none, or not all of it.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let fixed: &[u8; FIXED] = packet.first_chunk()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let mut length = FIXED + 4 * usize::from(fixed[0] & 0x0f);
        let has_extension = fixed[0] & 0x10 != 0;
        if has_extension {
            let words = packet.get(length + 2..length + 4)?;
            length += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
        }
        let sequence = u16::from_be_bytes([fixed[2], fixed[3]]);
        let ssrc = u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]);
        (length <= packet.len()).then_some(Self { ssrc, sequence, length })
    }
}

/// Returns who sends an RTCP packet; none where it is none.
pub(crate) fn rtcp_sender(packet: &[u8]) -> Option<u32> {
    let header: &[u8; RTCP_HEADER] = packet.first_chunk()?;
    let [.., a, b, c, d] = *header;
    (header[0] >> 6 == 2).then_some(u32::from_be_bytes([a, b, c, d]))
}
