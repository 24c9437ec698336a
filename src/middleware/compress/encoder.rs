//! One stream of a coding, with bounded memory: bytes in, bytes out, into a buffer of the caller's.

use std::io;

use bytes::BytesMut;
use compression_codecs::{
    BrotliEncoder, EncodeV2, GzipEncoder, ZstdEncoder,
    brotli::params::EncoderParams,
    core::{
        Level,
        util::{PartialBuffer, WriteBuffer},
    },
    zstd::params::CParameter,
};

use super::Coding;

/// Room for output is made in steps of this.
const ROOM: usize = 8 * 1_024;

/// The longest window, as a power of two: 128 KiB. With it an encoder takes about a megabyte and its client less, and
/// of web pages nearly nothing is lost.
const LONGEST_WINDOW: u32 = 17;
/// The shortest that the codings allow (brotli).
const SHORTEST_WINDOW: u32 = 10;

/// Levels at which a proxy's processor is worth what the network saves.
const GZIP: i32 = 5;
const BROTLI: i32 = 4;
const ZSTD: i32 = 3;

/// A stream that is being written.
pub(super) struct Encoder {
    codec: Box<dyn EncodeV2>,
    /// Whether it may hold bytes back.
    holds: bool,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("holds", &self.holds).finish_non_exhaustive()
    }
}

impl Encoder {
    /// A new stream; `length` is that of all that will be written, where it is known: short ones need less memory.
    pub(super) fn new(coding: Coding, length: Option<u64>) -> Self {
        let bits = length.map_or(LONGEST_WINDOW, |length| u64::BITS - length.saturating_sub(1).leading_zeros());
        let window = bits.clamp(SHORTEST_WINDOW, LONGEST_WINDOW);
        let codec: Box<dyn EncodeV2> = match coding {
            Coding::Gzip => Box::new(GzipEncoder::new(Level::Precise(GZIP).into())),
            Coding::Brotli => {
                let bits = i32::try_from(window).unwrap_or_default();
                let params = EncoderParams::default().quality(Level::Precise(BROTLI)).window_size(bits);
                Box::new(BrotliEncoder::new(params))
            }
            Coding::Zstd => Box::new(ZstdEncoder::new_with_params(ZSTD, &[CParameter::window_log(window)])),
        };
        Self { codec, holds: false }
    }

    /// Takes bytes; gives what comes of them so far, which may be nothing.
    pub(super) fn write(&mut self, bytes: &[u8], out: &mut BytesMut) -> io::Result<()> {
        let mut input = PartialBuffer::new(bytes);
        while !input.unwritten().is_empty() {
            with_room(out, |room| self.codec.encode(&mut input, room))?;
            self.holds = true;
        }
        Ok(())
    }

    /// Gives what it holds back, so that the client can read all that was written.
    pub(super) fn flush(&mut self, out: &mut BytesMut) -> io::Result<()> {
        while self.holds {
            self.holds = !with_room(out, |room| self.codec.flush(room))?;
        }
        Ok(())
    }

    /// Ends the stream.
    pub(super) fn finish(&mut self, out: &mut BytesMut) -> io::Result<()> {
        while !with_room(out, |room| self.codec.finish(room))? {}
        Ok(())
    }
}

/// Runs a step of a codec with room at the end of `out`.
fn with_room<T>(out: &mut BytesMut, step: impl FnOnce(&mut WriteBuffer<'_>) -> io::Result<T>) -> io::Result<T> {
    let before = out.len();
    out.resize(before + ROOM, 0);
    let (_, spare) = out.split_at_mut(before);
    let mut room = WriteBuffer::new_initialized(spare);
    let done = step(&mut room);
    let written = room.written_len();
    out.truncate(before + written);
    done
}
