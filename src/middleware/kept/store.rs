//! Where the bytes of a kept body are: the first of them in memory, the rest in a temporary file without a name. Disks
//! block, so that the file is touched on other threads than the worker's, and on a few of them at most.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};
use tokio::{sync::Semaphore, task::spawn_blocking};

/// Bytes that go to the file, or come from it, at a time.
pub(super) const PIECE: usize = 64 << 10;

/// Memory is asked for in steps of this size.
const STEP: u64 = 16 << 10;

/// So many pieces are written or read at the same moment in the whole process: each is a thread that waits for a disk.
static DISK: Semaphore = Semaphore::const_new(16);

/// How much bodies may take together.
#[derive(Debug)]
pub(super) struct Room {
    /// Of memory.
    pub(super) memory: Budget,
    /// Of disk.
    pub(super) disk: Budget,
}

/// A number of bytes to be shared out.
#[derive(Debug)]
pub(super) struct Budget {
    left: AtomicU64,
}

impl Budget {
    /// One of so many bytes.
    pub(super) const fn of(bytes: u64) -> Self {
        Self { left: AtomicU64::new(bytes) }
    }

    /// Takes so many bytes of it, if it has them.
    pub(super) fn take(&self, bytes: u64) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }
}

/// What a body has of a [`Budget`], given back when the body is gone.
#[derive(Debug)]
struct Share {
    of: &'static Budget,
    bytes: u64,
}

impl Share {
    /// Makes room for `length` bytes in all, if the budget has it.
    fn grow(&mut self, length: u64) -> bool {
        let more = length.saturating_sub(self.bytes).next_multiple_of(STEP);
        let granted = more == 0 || self.of.take(more);
        if granted {
            self.bytes += more;
        }
        granted
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Bytes in memory and on disk, shared by all that read them.
#[derive(Clone, Debug)]
pub(super) struct Store {
    memory: Bytes,
    /// What comes behind it, and how much that is.
    file: Option<Arc<File>>,
    on_disk: u64,
    /// What comes last, where it could not be written.
    tail: Bytes,
    _shares: Arc<[Share; 2]>,
}

impl Store {
    /// Bytes in all.
    pub(super) fn length(&self) -> u64 {
        self.memory.len() as u64 + self.on_disk + self.tail.len() as u64
    }

    /// All of it, if it is in memory.
    pub(super) fn in_memory(&self) -> Option<&Bytes> {
        (self.on_disk == 0 && self.tail.is_empty()).then_some(&self.memory)
    }

    /// A piece of what is in memory from this offset on, if that is where it is. Never all of a long body: who is handed
    /// the last of it gives its place back.
    pub(super) fn at_hand(&self, at: u64) -> Option<Bytes> {
        let behind = at.checked_sub(self.memory.len() as u64 + self.on_disk);
        let (part, from) = match behind {
            Some(behind) => (&self.tail, behind),
            None => (&self.memory, at),
        };
        let from = usize::try_from(from).ok().filter(|from| *from < part.len())?;
        Some(part.slice(from..part.len().min(from + PIECE)))
    }

    /// A piece of the file, from this offset of the body on; empty if the file has nothing there.
    pub(super) async fn piece(self, at: u64) -> io::Result<Bytes> {
        let start = at.saturating_sub(self.memory.len() as u64);
        let length = self.on_disk.saturating_sub(start).min(PIECE as u64);
        let (Some(file), Ok(length)) = (self.file, usize::try_from(length)) else { return Ok(Bytes::new()) };
        on_disk(move || {
            let mut piece = vec![0; length];
            file.read_exact_at(&mut piece, start)?;
            Ok(piece.into())
        })
        .await
    }
}

/// Runs what blocks on another thread, when it is its turn.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    let turn = DISK.acquire().await.map_err(io::Error::other)?;
    let work = move || {
        // Kept by the thread, which may outlive who asked.
        let _turn = turn;
        work()
    };
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Takes the bytes of a body as they come.
#[derive(Debug)]
pub(super) struct Writer {
    /// The most that may stay in memory.
    most: u64,
    share: Share,
    disk: Share,
    /// The only piece so far, as it came: most bodies are one.
    first: Bytes,
    /// Several pieces. They are copied: a small one may hold a large buffer.
    memory: BytesMut,
    file: Option<Arc<File>>,
    written: u64,
    /// For the file, until it is worth a write.
    waiting: BytesMut,
}

impl Writer {
    /// An empty one that keeps so many bytes in memory.
    pub(super) fn new(most: u64, room: &'static Room) -> Self {
        Self {
            most,
            share: Share { of: &room.memory, bytes: 0 },
            disk: Share { of: &room.disk, bytes: 0 },
            first: Bytes::new(),
            memory: BytesMut::new(),
            file: None,
            written: 0,
            waiting: BytesMut::new(),
        }
    }

    /// Bytes taken so far.
    pub(super) fn length(&self) -> u64 {
        self.in_memory() + self.written + self.waiting.len() as u64
    }

    fn in_memory(&self) -> u64 {
        (self.first.len() + self.memory.len()) as u64
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// When the file can't be made or written. The piece is kept all the same, see [`Writer::stop`].
    pub(super) async fn write(&mut self, mut data: Bytes) -> io::Result<()> {
        if self.file.is_none() && self.waiting.is_empty() {
            let room = usize::try_from(self.most.saturating_sub(self.in_memory())).unwrap_or(usize::MAX);
            let head = data.split_to(room.min(data.len()));
            if self.share.grow(self.in_memory() + head.len() as u64) {
                self.remember(head);
            } else {
                // No more memory for this body from here on.
                self.most = self.in_memory();
                self.waiting.extend_from_slice(&head);
            }
        }
        self.waiting.extend_from_slice(&data);
        if self.waiting.len() >= PIECE { self.flush().await } else { Ok(()) }
    }

    fn remember(&mut self, data: Bytes) {
        if self.first.is_empty() && self.memory.is_empty() {
            self.first = data;
            return;
        }
        if self.memory.is_empty() {
            let first = std::mem::take(&mut self.first);
            self.memory.extend_from_slice(&first);
        }
        self.memory.extend_from_slice(&data);
    }

    /// Writes what waits, in one go.
    async fn flush(&mut self) -> io::Result<()> {
        if !self.disk.grow(self.written + self.waiting.len() as u64) {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "all bodies together take too much disk"));
        }
        let (file, waiting, at) = (self.file.clone(), self.waiting.split().freeze(), self.written);
        let written = {
            let waiting = waiting.clone();
            on_disk(move || {
                // Unlinked as soon as it is open: nobody else finds it, and it is gone with this process.
                let file = file.map_or_else(|| tempfile::tempfile().map(Arc::new), Ok)?;
                file.write_all_at(&waiting, at)?;
                Ok(file)
            })
            .await
        };
        match written {
            Ok(file) => {
                self.file = Some(file);
                self.written += waiting.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.waiting = waiting.into();
                Err(error)
            }
        }
    }

    /// All that was taken. Where the last of it could not be written, it is in memory.
    ///
    /// # Errors
    /// When that is so, and why.
    pub(super) async fn finish(mut self) -> Result<Store, (Store, io::Error)> {
        let flushed = if self.waiting.is_empty() { Ok(()) } else { self.flush().await };
        match flushed {
            Ok(()) => Ok(self.stop()),
            Err(error) => Err((self.stop(), error)),
        }
    }

    /// What was taken so far, without another try to write it.
    pub(super) fn stop(self) -> Store {
        let memory = if self.memory.is_empty() { self.first } else { self.memory.freeze() };
        Store {
            memory,
            file: self.file,
            on_disk: self.written,
            tail: self.waiting.freeze(),
            _shares: Arc::new([self.share, self.disk]),
        }
    }
}
