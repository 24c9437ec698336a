//! One stream of a coding, with bounded memory: bytes in, bytes out, into a buffer of the caller's.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

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

/// All encoders of the process may take so much memory together. A slow reader keeps one for as long as it likes; with
/// too many of them, further answers go out as they are.
static ROOM_LEFT: AtomicU64 = AtomicU64::new(128 << 20);

/// About what an encoder takes at most, measured.
fn memory(coding: Coding) -> u64 {
    match coding {
        Coding::Gzip => 512 << 10,
        Coding::Brotli => 1_536 << 10,
        Coding::Zstd => 1_280 << 10,
    }
}

/// A part of the room, given back when it is dropped.
#[derive(Debug)]
struct Share {
    of: &'static AtomicU64,
    bytes: u64,
}

impl Share {
    fn take(of: &'static AtomicU64, bytes: u64) -> Option<Self> {
        let less = |left: u64| left.checked_sub(bytes);
        of.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok().map(|_| Self { of, bytes })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// A stream that is being written.
pub(super) struct Encoder {
    codec: Box<dyn EncodeV2>,
    _share: Share,
    /// Whether it may hold bytes back.
    holds: bool,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("holds", &self.holds).finish_non_exhaustive()
    }
}

impl Encoder {
    /// A new stream, if there is room for one more; `length` is that of all that will be written, where it is known:
    /// short ones need less memory.
    pub(super) fn new(coding: Coding, length: Option<u64>) -> Option<Self> {
        Self::within(&ROOM_LEFT, coding, length)
    }

    pub(super) fn within(room: &'static AtomicU64, coding: Coding, length: Option<u64>) -> Option<Self> {
        let share = Share::take(room, memory(coding))?;
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
        Some(Self { codec, _share: share, holds: false })
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
