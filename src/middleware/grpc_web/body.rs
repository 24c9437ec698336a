//! Bodies between gRPC-Web and gRPC, piece by piece: nothing is kept but the rest of a group of four characters.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::Form;
use crate::body::{Body, BodyError};

type Piece = Result<Frame<Bytes>, BodyError>;

/// A call's body, out of its base64 text if it is that. Clients may pad wherever they flush, so that padding can stand
/// within it.
#[derive(Debug)]
pub(super) struct Unwrapped {
    inner: Body,
    form: Form,
    /// Less than a group of four characters.
    begun: BytesMut,
    over: bool,
}

const NOT_BASE64: BodyError = BodyError::Framing("it is not base64, as its type says");

impl Unwrapped {
    pub(super) fn new(inner: Body, form: Form) -> Self {
        Self { inner, form, begun: BytesMut::new(), over: false }
    }

    /// Decodes the whole groups of what has come.
    fn decode(&mut self, text: Bytes) -> Result<Bytes, BodyError> {
        if self.form == Form::Binary {
            return Ok(text);
        }
        // Line ends may stand in it, as in Go's decoder.
        self.begun.extend(text.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        let groups = self.begun.split_to(self.begun.len() / 4 * 4);
        let mut out = Vec::with_capacity(groups.len() / 4 * 3);
        let mut rest = &*groups;
        while !rest.is_empty() {
            // Up to the end of the first group with padding.
            let end = memchr::memchr(b'=', rest).map_or(rest.len(), |at| (at / 4 + 1) * 4);
            let (padded, after) = rest.split_at_checked(end).ok_or(NOT_BASE64)?;
            STANDARD.decode_vec(padded, &mut out).map_err(|_| NOT_BASE64)?;
            rest = after;
        }
        Ok(out.into())
    }
}

impl HttpBody for Unwrapped {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        let this = &mut *self;
        loop {
            if this.over {
                return Poll::Ready(None);
            }
            let piece = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                None => {
                    this.over = true;
                    if this.begun.is_empty() {
                        continue;
                    }
                    Err(NOT_BASE64)
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(text) => match this.decode(text) {
                        Ok(bytes) if bytes.is_empty() => continue,
                        bytes => bytes.map(Frame::data),
                    },
                    Err(trailers) => Ok(trailers),
                },
                Some(Err(error)) => Err(error),
            };
            this.over |= piece.is_err();
            return Poll::Ready(Some(piece));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// An answer's body with its trailers as the last frame.
#[derive(Debug)]
pub(super) struct Framed {
    inner: Body,
    form: Form,
    over: bool,
}

impl Framed {
    pub(super) fn new(inner: Body, form: Form) -> Self {
        Self { inner, form, over: false }
    }

    /// Each piece of text is padded by itself, which the protocol allows: nothing has to wait for what comes next.
    fn written(&self, bytes: Bytes) -> Bytes {
        match self.form {
            Form::Binary => bytes,
            Form::Text => STANDARD.encode(bytes).into(),
        }
    }
}

/// The frame that holds the trailers: `0x80`, its length in four bytes, the fields as HTTP/1 writes them.
fn frame(trailers: &HeaderMap) -> Bytes {
    let mut fields = BytesMut::new();
    for (name, value) in trailers {
        fields.put_slice(name.as_str().as_bytes());
        fields.put_slice(b": ");
        fields.put_slice(value.as_bytes());
        fields.put_slice(b"\r\n");
    }
    let mut frame = BytesMut::with_capacity(5 + fields.len());
    frame.put_u8(0x80);
    frame.put_u32(u32::try_from(fields.len()).unwrap_or(u32::MAX));
    frame.put_slice(&fields);
    frame.freeze()
}

impl HttpBody for Framed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        if self.over {
            return Poll::Ready(None);
        }
        let piece = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        let bytes = match piece.transpose() {
            Ok(Some(piece)) => match piece.into_data() {
                Ok(data) => data,
                Err(piece) => {
                    self.over = true;
                    piece.into_trailers().map(|fields| frame(&fields)).unwrap_or_default()
                }
            },
            Ok(None) => {
                self.over = true;
                return Poll::Ready(None);
            }
            Err(error) => {
                self.over = true;
                return Poll::Ready(Some(Err(error)));
            }
        };
        Poll::Ready(Some(Ok(Frame::data(self.written(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
