//! RTP payload formats, frame assembly and stream rewriting: bytes in, bytes out.
//!
//! * [`Packetizer`] splits encoded frames into payloads: VP8 (RFC 7741), H.264 (RFC 6184, packetization mode 1)
//!   and Opus (RFC 7587).
//! * [`FrameAssembler`] puts packets back in order and makes whole, decodable frames of them.
//! * [`Rewriter`] lets several sources take turns on one outgoing stream, so that it still looks like one.
//! * [`is_keyframe`] and [`starts_keyframe`] tell where a receiver may begin.
//!
//! It deliberately holds no socket, clock, thread or random source, reads and writes no RTP headers, sends no feedback
//! and decodes nothing: encryption, retransmission and headers belong to the layer below, pictures to the one above.
//! Every buffer is bounded ([`limits`]), and no bytes from the network make it panic.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use roomful_rtp::{AssemblerConfig, AssemblerEvent, FrameAssembler, Packet, Packetizer, Payloads};
//! use roomful_types::Codec;
//!
//! let keyframe = vec![0x10; 3000]; // an even first byte: a VP8 key frame
//! let mut payloads = Payloads::new();
//! Packetizer::new(Codec::Vp8, 1200).packetize(&keyframe, &mut payloads)?;
//! assert_eq!(payloads.len(), 3);
//!
//! let start = Instant::now();
//! let mut assembler = FrameAssembler::new(Codec::Vp8, AssemblerConfig::for_codec(Codec::Vp8));
//! assembler.start_at(70);
//! let packets = payloads.iter().zip([70, 71, 72]).map(|(payload, sequence)| Packet {
//!     sequence,
//!     timestamp: 90_000,
//!     marker: sequence == 72,
//!     payload: payload.into(),
//!     audio_level: None,
//! });
//! for packet in packets.rev() {
//!     assert_eq!(assembler.poll(start), None);
//!     assembler.push(packet, start); // the first one comes last
//! }
//! let Some(AssemblerEvent::Frame(frame)) = assembler.poll(start) else { panic!("all packets are there") };
//! assert_eq!(frame.data, keyframe);
//! assert!(frame.is_keyframe);
//! # Ok::<(), roomful_rtp::PacketizeError>(())
//! ```

mod assembler;
mod depacketize;
mod keyframe;
pub mod limits;
mod nal;
mod packetize;
mod rewriter;

pub use assembler::{AssembledFrame, AssemblerConfig, AssemblerEvent, FrameAssembler, Packet};
pub use keyframe::{is_keyframe, starts_keyframe};
pub use packetize::{PacketizeError, Packetizer, Payloads};
pub use rewriter::{Mapped, Rewriter};
