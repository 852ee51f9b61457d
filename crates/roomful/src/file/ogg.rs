//! Ogg Opus (RFC 7845): Opus packets in pages that count samples.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Read, Seek, SeekFrom, Write},
    time::Duration,
};

use ::ogg::{OggReadError, Packet, PacketReader, PacketWriteEndInfo, PacketWriter};
use bytes::Bytes;
use roomful_types::Codec;

use super::{MediaFrame, ReadError, opus, read_up_to};

/// Reads Opus packets. An iterator; it ends after the first error.
///
/// Media time counts from the first packet. Packets without audio in them (silence that was not transmitted, or what
/// [`Writer`] puts where packets are missing) are not returned, but time goes on over them. Of several streams in the
/// file, the first with Opus is read. A last page that was cut off is left out.
pub struct Reader<R: Read + Seek> {
    packets: PacketReader<Limited<R>>,
    serial: u32,
    head: Head,
    /// The packets of one page with their samples; only a page's end says when it began.
    page: VecDeque<(Packet, u64)>,
    /// Sample number of the first packet's beginning; unknown before the first page.
    first: Option<u64>,
    /// Sample number of the next packet's beginning.
    position: u64,
    is_done: bool,
}

impl<R: Read + Seek> Reader<R> {
    /// Reads the two header packets.
    ///
    /// # Errors
    /// [`ReadError::WrongFormat`] when it is no Ogg file with an Opus stream of one or two channels; [`ReadError::Damaged`];
    /// [`ReadError::Io`].
    pub fn new(mut input: R) -> Result<Self, ReadError> {
        let mut beginning = [0; 4];
        let length = read_up_to(&mut input, &mut beginning)?;
        if !beginning[..length].starts_with(SIGNATURE) {
            return Err(ReadError::WrongFormat { expected: "an Ogg file" });
        }
        input.seek(SeekFrom::Current(-(length as i64)))?;
        let mut packets = PacketReader::new(Limited { input, left: MAX_BYTES_WITHOUT_PACKET });
        let wrong =
            || ReadError::WrongFormat { expected: "an Ogg file with an Opus stream of one or two channels" };
        let packet = loop {
            let packet = packets.read_packet().map_err(read_error)?.ok_or_else(wrong)?;
            if packet.data.starts_with(HEAD_SIGNATURE) {
                break packet;
            }
        };
        let head = Head::parse(&packet.data).ok_or_else(wrong)?;
        let mut reader = Self {
            packets,
            serial: packet.stream_serial(),
            head,
            page: VecDeque::new(),
            first: None,
            position: 0,
            is_done: false,
        };
        match reader.read_packet()? {
            Some(packet) if !packet.data.starts_with(TAGS_SIGNATURE) => {
                Err(ReadError::Damaged { what: "second packet of the Opus stream is not OpusTags" })
            }
            Some(_) | None => Ok(reader),
        }
    }

    /// Returns what the file says about itself.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Reads the next packet; `None` at the end of the stream.
    ///
    /// # Errors
    /// [`ReadError::Damaged`], [`ReadError::Io`]. Nothing follows an error.
    pub fn next_frame(&mut self) -> Result<Option<MediaFrame>, ReadError> {
        loop {
            if self.page.is_empty() && !self.read_page()? {
                return Ok(None);
            }
            let Some((packet, samples)) = self.page.pop_front() else { return Ok(None) };
            let begin = self.position.saturating_sub(self.first.unwrap_or(0));
            self.position = self.position.saturating_add(samples);
            if !opus::is_empty(&packet.data) {
                let media_time = Codec::Opus.time(begin);
                return Ok(Some(MediaFrame {
                    data: packet.data.into(),
                    media_time,
                    duration: Codec::Opus.time(begin.saturating_add(samples)).saturating_sub(media_time),
                    is_keyframe: true,
                    audio_level: None,
                }));
            }
        }
    }

    /// Takes in the packets that end on the next page. `false`: there are none.
    fn read_page(&mut self) -> Result<bool, ReadError> {
        let mut total = 0_u64;
        while let Some(packet) = self.read_packet()? {
            let Some(samples) = opus::samples(&packet.data) else {
                self.is_done = true;
                return Err(ReadError::Damaged { what: "packet that is not Opus" });
            };
            total += samples; // at most 255 packets of 120 ms
            let (is_last, end) = (packet.last_in_page(), packet.absgp_page());
            self.page.push_back((packet, samples));
            if is_last {
                self.locate_page(end, total);
                return Ok(true);
            }
        }
        self.page.clear();
        Ok(false)
    }

    /// Moves the position to where the page begins.
    ///
    /// * `end`: the page's granule position, which counts the samples up to its end.
    ///
    /// The first page may begin anywhere (RFC 7845 §4.3); a later one that ends early trims the end (§4.4), one that
    /// ends late follows a hole.
    fn locate_page(&mut self, end: u64, total: u64) {
        let begin = end.saturating_sub(total);
        if self.first.is_none() {
            self.first = Some(begin);
            self.position = begin;
        }
        self.position = self.position.max(begin);
    }

    /// Reads one packet of this stream.
    fn read_packet(&mut self) -> Result<Option<Packet>, ReadError> {
        while !self.is_done {
            match self.packets.read_packet() {
                Ok(Some(packet)) if packet.stream_serial() == self.serial => {
                    self.packets.get_mut().left = MAX_BYTES_WITHOUT_PACKET;
                    self.is_done = packet.last_in_stream();
                    return Ok(Some(packet));
                }
                Ok(Some(_other_stream)) => {}
                Ok(None) => self.is_done = true,
                Err(error) => {
                    self.is_done = true;
                    let is_cut_off = matches!(
                        &error,
                        OggReadError::ReadError(error) if error.kind() == io::ErrorKind::UnexpectedEof
                    );
                    return if is_cut_off { Ok(None) } else { Err(read_error(error)) };
                }
            }
        }
        Ok(None)
    }
}

impl<R: Read + Seek> Iterator for Reader<R> {
    type Item = Result<MediaFrame, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_frame().transpose()
    }
}

impl<R: Read + Seek> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("head", &self.head)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// Writes Opus packets in pages of half a second, each flushed, so that a stop at any time costs less than a second.
///
/// Where media time jumps ahead of the samples written, packets that ask the decoder to conceal fill the gap (RFC 7845
/// §4.1), in steps of one frame: the file stays less than one frame behind media time. Media time that goes back
/// or overlaps is written as if it went on.
pub struct Writer<W: Write> {
    packets: PacketWriter<'static, W>,
    serial: u32,
    /// Media time of the first packet.
    start: Option<Duration>,
    /// Samples up to the end of the packet that is held.
    position: u64,
    /// The last packet, held back because only the next call tells whether its page, or the stream, ends with it.
    held: Option<Bytes>,
    /// Samples on the page before the packet that is held.
    page: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the two header packets.
    ///
    /// * `channels`: 1 or 2, for players; packets may have either.
    /// * `serial`: any number; the stream's in the file.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for other numbers of channels; what the output reports.
    pub fn new(output: W, channels: u8, serial: u32) -> io::Result<Self> {
        if !(1..=2).contains(&channels) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "channels are neither 1 nor 2"));
        }
        let head = Head {
            channels,
            pre_skip: PRE_SKIP,
            input_sample_rate: opus::SAMPLE_RATE as u32,
            output_gain: 0,
        };
        let mut packets = PacketWriter::new(output);
        packets.write_packet(head.to_bytes(), serial, PacketWriteEndInfo::EndPage, 0)?;
        packets.write_packet(tags(), serial, PacketWriteEndInfo::EndPage, 0)?;
        packets.inner_mut().flush()?;
        Ok(Self { packets, serial, start: None, position: 0, held: None, page: 0 })
    }

    /// Writes one packet, at its media time. Its duration is what its first bytes say.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when it is not an Opus packet, or more than a day after the last; what the
    /// output reports.
    pub fn write(&mut self, frame: &MediaFrame) -> io::Result<()> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
        let samples = opus::samples(&frame.data).ok_or_else(|| invalid("frame is not an Opus packet"))?;
        let start = *self.start.get_or_insert(frame.media_time);
        let due = Codec::Opus.ticks(frame.media_time.saturating_sub(start));
        let gap = due.saturating_sub(self.position);
        if gap > MAX_GAP {
            return Err(invalid("media time is more than a day after the last packet"));
        }
        self.fill(gap)?;
        self.push(frame.data.clone(), samples)
    }

    /// Writes the packet that is held, ends the stream and returns the output.
    ///
    /// # Errors
    /// What the output reports.
    pub fn finish(mut self) -> io::Result<W> {
        self.put_held(PacketWriteEndInfo::EndStream)?;
        let mut output = self.packets.into_inner();
        output.flush()?;
        Ok(output)
    }

    /// Fills a gap with whole frames like those of the last packet.
    fn fill(&mut self, gap: u64) -> io::Result<()> {
        let Some(toc) = self.held.as_ref().and_then(|held| held.first().copied()) else { return Ok(()) };
        let frame = opus::frame_samples(toc);
        let mut missing = gap / frame;
        while missing > 0 {
            let frames = missing.min(opus::MAX_SAMPLES / frame);
            self.push(opus::concealment(toc, frames).into(), frames * frame)?;
            missing -= frames;
        }
        Ok(())
    }

    fn push(&mut self, packet: Bytes, samples: u64) -> io::Result<()> {
        let ends_page = self.page + samples > PAGE_SAMPLES;
        self.put_held(if ends_page {
            PacketWriteEndInfo::EndPage
        } else {
            PacketWriteEndInfo::NormalPacket
        })?;
        self.page = if ends_page { samples } else { self.page + samples };
        self.position += samples;
        self.held = Some(packet);
        Ok(())
    }

    fn put_held(&mut self, end: PacketWriteEndInfo) -> io::Result<()> {
        let Some(packet) = self.held.take() else { return Ok(()) };
        let flushes = end != PacketWriteEndInfo::NormalPacket;
        self.packets.write_packet(Vec::from(packet), self.serial, end, self.position)?;
        if flushes { self.packets.inner_mut().flush() } else { Ok(()) }
    }
}

impl<W: Write> fmt::Debug for Writer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("position", &self.position).finish_non_exhaustive()
    }
}

/// What the first packet says (RFC 7845 §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Channels that a decoder gives out: 1 or 2.
    pub channels: u8,
    /// Samples at 48 kHz that a player drops from the beginning.
    pub pre_skip: u16,
    /// Samples per second before encoding, for information; 0 when unknown.
    pub input_sample_rate: u32,
    /// Gain to be applied by a player, in 1/256 dB.
    pub output_gain: i16,
}

impl Head {
    /// Takes major version 0 and channel mapping family 0, which is mono and stereo.
    fn parse(packet: &[u8]) -> Option<Self> {
        let [version, channels, skip0, skip1, rate0, rate1, rate2, rate3, gain0, gain1, family, ..] =
            *packet.strip_prefix(HEAD_SIGNATURE)?
        else {
            return None;
        };
        (version < 16 && family == 0 && (1..=2).contains(&channels)).then_some(Self {
            channels,
            pre_skip: u16::from_le_bytes([skip0, skip1]),
            input_sample_rate: u32::from_le_bytes([rate0, rate1, rate2, rate3]),
            output_gain: i16::from_le_bytes([gain0, gain1]),
        })
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = HEAD_SIGNATURE.to_vec();
        bytes.extend_from_slice(&[1, self.channels]);
        bytes.extend_from_slice(&self.pre_skip.to_le_bytes());
        bytes.extend_from_slice(&self.input_sample_rate.to_le_bytes());
        bytes.extend_from_slice(&self.output_gain.to_le_bytes());
        bytes.push(0);
        bytes
    }
}

/// The comment header (RFC 7845 §5.2) with a vendor and no comments.
fn tags() -> Vec<u8> {
    let mut bytes = TAGS_SIGNATURE.to_vec();
    bytes.extend_from_slice(&(VENDOR.len() as u32).to_le_bytes());
    bytes.extend_from_slice(VENDOR);
    bytes.extend_from_slice(&0_u32.to_le_bytes());
    bytes
}

/// An input that gives an error when too many bytes are read from it without a packet coming out, so that a file
/// cannot make a packet, or the list of its streams, grow without bound.
struct Limited<R> {
    input: R,
    left: usize,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "8 MiB without an Opus packet"))?;
        Ok(count)
    }
}

impl<R: Seek> Seek for Limited<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.input.seek(to)
    }
}

fn read_error(error: OggReadError) -> ReadError {
    let what = match error {
        OggReadError::ReadError(error) => return ReadError::Io(error),
        OggReadError::NoCapturePatternFound => "no Ogg page where one should be",
        OggReadError::InvalidStreamStructVer(_) => "Ogg page of an unknown version",
        OggReadError::HashMismatch(..) => "Ogg page with a wrong checksum",
        OggReadError::InvalidData => "Ogg page that contradicts those before it",
    };
    ReadError::Damaged { what }
}

pub(super) const SIGNATURE: &[u8] = b"OggS";
const HEAD_SIGNATURE: &[u8] = b"OpusHead";
const TAGS_SIGNATURE: &[u8] = b"OpusTags";
const VENDOR: &[u8] = b"roomful";

/// Delay of libopus, which nearly every encoder is, in its mode for calls and music: 6.5 ms. A player that skips them
/// plays each packet at its media time.
const PRE_SKIP: u16 = 312;

/// Half a second on a page: with the packet that is held back, less than a second is lost when writing stops.
const PAGE_SAMPLES: u64 = opus::SAMPLE_RATE / 2;

/// A day: a stream is not muted for longer, and filling it costs under 2 MiB at 20 ms a packet.
const MAX_GAP: u64 = 24 * 3600 * opus::SAMPLE_RATE;

/// Far more than comments with a picture, or another stream's pages between two of this one.
const MAX_BYTES_WITHOUT_PACKET: usize = 8 << 20;

#[cfg(test)]
mod tests;
