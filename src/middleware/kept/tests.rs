use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use bytes::BytesMut;
use http_body::SizeHint;
use proptest::prelude::*;

use super::*;

/// A body of these frames, whose length is not known beforehand. At its end it stays silent for ever, if so asked.
struct Pieces {
    frames: VecDeque<Result<Frame<Bytes>, BodyError>>,
    stalls: bool,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.frames.pop_front() {
            None if self.stalls => Poll::Pending,
            frame => Poll::Ready(frame),
        }
    }
}

fn pieces(data: &[Vec<u8>]) -> Pieces {
    Pieces { frames: data.iter().map(|d| Ok(Frame::data(d.clone().into()))).collect(), stalls: false }
}

/// What a body says it is, what it is, and its trailers.
async fn read(mut body: Body) -> (SizeHint, Result<Vec<u8>, BodyError>, Option<HeaderMap>) {
    let hint = body.size_hint();
    let (mut all, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = next_frame(&mut body).await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => all.extend_from_slice(&data),
            Ok(Err(other)) => trailers = other.into_trailers().ok(),
            Err(error) => return (hint, Err(error), trailers),
        }
    }
    assert!(body.is_end_stream() || matches!(body, Body::Stream(_)));
    (hint, Ok(all.to_vec()), trailers)
}

async fn whole(body: Body) -> Vec<u8> {
    read(body).await.1.unwrap()
}

fn limits(memory: u64, most: u64) -> Limits {
    Limits { memory, most, idle: Duration::ZERO }
}

/// Room of its own, so that tests don't see each other.
fn room(memory: u64, disk: u64) -> &'static Room {
    Box::leak(Box::new(Room { memory: Budget::of(memory), disk: Budget::of(disk) }))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_body_comes_back_whole_as_often_as_wanted(
        data in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90_000), 0..8),
        memory in prop_oneof![Just(0), Just(1), 0..400_000_u64, Just(u64::MAX)],
        budget_bytes in prop_oneof![Just(0), 0..200_000_u64, Just(1 << 30)],
        most in prop_oneof![Just(u64::MAX), 0..400_000_u64],
        with_trailers: bool,
    ) {
        let all: Vec<u8> = data.concat();
        let trailers: HeaderMap = [(http::HeaderName::from_static("x-sum"), http::HeaderValue::from_static("1"))].into_iter().collect();
        let trailers = with_trailers.then_some(trailers);
        let room = room(budget_bytes, 1 << 30);
        run(async {
            let mut source = pieces(&data);
            source.frames.extend(trailers.clone().map(|t| Ok(Frame::trailers(t))));
            match Kept::read_within(Body::stream(source), limits(memory, most), room).await {
                Ok(kept) => {
                    assert!(all.len() as u64 <= most);
                    assert_eq!(kept.length(), all.len() as u64);
                    let kind = if with_trailers { BodyKind::Chunked } else { BodyKind::Length(all.len() as u64) };
                    assert_eq!(kept.kind(), kind);
                    for _ in 0..2 {
                        let (hint, read, found) = read(kept.body()).await;
                        assert_eq!(hint.lower(), all.len() as u64);
                        assert_eq!(hint.exact().is_some(), !with_trailers, "a told length leaves no trailers");
                        assert!(read.unwrap() == all);
                        assert_eq!(found, trailers);
                    }
                    let in_memory = kept.store.at_hand(0).map_or(0, |memory| memory.len() as u64);
                    assert!(in_memory <= memory && in_memory <= budget_bytes.next_multiple_of(16 << 10));
                }
                Err(unkept) => {
                    assert!(all.len() as u64 > most);
                    assert!(matches!(unkept.error, BodyError::TooLarge));
                    let (hint, read, found) = read(unkept.into_body()).await;
                    assert!(hint.lower() <= all.len() as u64);
                    assert!(read.unwrap() == all);
                    assert_eq!(found, trailers);
                }
            }
            assert!(room.memory.take(budget_bytes) && room.disk.take(1 << 30), "all is given back");
        });
    }
}

#[test]
fn what_says_that_it_is_too_long_is_not_read() {
    run(async {
        let body = Body::from(Bytes::from_static(b"four"));
        let unkept = Kept::read(body, limits(10, 3)).await.unwrap_err();
        assert_eq!(unkept.status(), 413);
        assert!(matches!(unkept.rest, Body::Full(_)));
        assert_eq!(whole(unkept.into_body()).await, b"four");
        assert_eq!(Kept::read(Body::from("four"), limits(10, 4)).await.unwrap().length(), 4);
        assert_eq!(Kept::read(Body::Empty, limits(0, 0)).await.unwrap().kind(), BodyKind::Length(0));
    });
}

#[test]
fn a_body_that_breaks_off_is_no_body() {
    run(async {
        let mut source = pieces(&[b"so far".to_vec()]);
        source.frames.push_back(Err(BodyError::Incomplete));
        let unkept = Kept::read(Body::stream(source), limits(10, 100)).await.unwrap_err();
        assert_eq!(unkept.status(), 400);
    });
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_given_up() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            tokio::task::spawn_local(clock::drive());
            let mut source = pieces(&[b"so far".to_vec()]);
            source.stalls = true;
            let limits = Limits { memory: 10, most: 100, idle: Duration::from_millis(1) };
            let unkept = Kept::read(Body::stream(source), limits).await.unwrap_err();
            assert!(matches!(unkept.error, BodyError::Stalled));
            assert_eq!(unkept.status(), 408);
        })
        .await;
}

#[test]
fn many_small_pieces_hold_no_large_buffers() {
    run(async {
        let buffer = Bytes::from(vec![7; 100_000]);
        let frames = (0..1_000).map(|at| Ok(Frame::data(buffer.slice(at * 100..at * 100 + 1)))).collect();
        let body = Body::stream(Pieces { frames, stalls: false });
        let kept = Kept::read(body, limits(1 << 20, 1 << 20)).await.unwrap();
        assert_eq!(kept.length(), 1_000);
        assert!(buffer.is_unique(), "nothing of it is shared any more");
    });
}

#[test]
fn a_full_disk_ends_the_keeping_and_loses_nothing() {
    run(async {
        let all: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        let data: Vec<Vec<u8>> = all.chunks(1_000).map(<[u8]>::to_vec).collect();
        for disk in [0, 70_000, 200_000] {
            let room = room(1 << 20, disk);
            let unkept =
                Kept::read_within(Body::stream(pieces(&data)), limits(10_000, u64::MAX), room).await.unwrap_err();
            assert!(matches!(&unkept.error, BodyError::NoRoom(error) if error.kind() == std::io::ErrorKind::StorageFull));
            assert_eq!(unkept.status(), 500);
            assert!(whole(unkept.into_body()).await == all, "{disk}");
            assert!(room.disk.take(disk));
        }
        // The last write of a body.
        let unkept =
            Kept::read_within(Body::stream(pieces(&data[..20])), limits(0, u64::MAX), room(0, 0)).await.unwrap_err();
        assert!(whole(unkept.into_body()).await == all[..20_000]);
    });
}
