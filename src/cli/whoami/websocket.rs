//! whoami's `/ws`: the WebSocket handshake, and an echo of what comes (RFC 6455).
//!
//! As small as a test of a proxy's upgrades needs: frames come back as they are, fragments as fragments, text is not
//! checked to be UTF-8. What breaks the framing closes the connection with the code that the RFC gives for it.

use std::io;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE},
};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::answers::{Body, bad, whole};

/// RFC 6455 §1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Largest frame that is echoed, in bytes.
const MAX_FRAME: u64 = 1024 * 1024;

const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Close codes, RFC 6455 §7.4.1.
const PROTOCOL_ERROR: u16 = 1002;
const TOO_BIG: u16 = 1009;

/// The answer to the handshake; on 101, a task echoes until the connection ends.
pub(super) fn upgrade(mut request: Request<Incoming>) -> Response<Body> {
    let headers = request.headers();
    if request.method() != Method::GET
        || request.version() != Version::HTTP_11
        || !has_token(headers, &CONNECTION, "upgrade")
        || !has_token(headers, &UPGRADE, "websocket")
    {
        return bad("this path speaks WebSocket over HTTP/1.1\n");
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut response = bad("only version 13 is spoken here\n");
        *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return response;
    }
    let Some(accept) = headers.get(SEC_WEBSOCKET_KEY).and_then(|key| accept(key.as_bytes())) else {
        return bad("Sec-WebSocket-Key is missing\n");
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(connection) = upgraded.await {
            // A client that goes away ends the echo; there is nobody to tell.
            let _ = echo(TokioIo::new(connection)).await;
        }
    });
    let mut response = whole(HeaderValue::from_static("text/plain"), "");
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.clear();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
}

/// The value of Sec-WebSocket-Accept (RFC 6455 §4.2.2).
fn accept(key: &[u8]) -> Option<HeaderValue> {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    HeaderValue::try_from(STANDARD.encode(digest)).ok()
}

async fn echo(mut connection: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    loop {
        let frame = match read_frame(&mut connection).await? {
            Ok(frame) => frame,
            Err(code) => {
                write_frame(&mut connection, 0x80 | CLOSE, &code.to_be_bytes()).await?;
                return connection.shutdown().await;
            }
        };
        match frame.first & 0xf {
            CLOSE => {
                write_frame(&mut connection, frame.first, &frame.payload).await?;
                return connection.shutdown().await;
            }
            PING => write_frame(&mut connection, 0x80 | PONG, &frame.payload).await?,
            PONG => {}
            _ => write_frame(&mut connection, frame.first, &frame.payload).await?,
        }
    }
}

struct Frame {
    /// FIN bit and opcode.
    first: u8,
    payload: Vec<u8>,
}

/// A frame from the client, unmasked, or the code to close with (RFC 6455 §5.2).
async fn read_frame(connection: &mut (impl AsyncRead + Unpin)) -> io::Result<Result<Frame, u16>> {
    let (first, second) = (connection.read_u8().await?, connection.read_u8().await?);
    let (opcode, masked, short) = (first & 0xf, second & 0x80 != 0, second & 0x7f);
    let control = opcode >= CLOSE;
    if first & 0x70 != 0 || !matches!(opcode, 0..=2 | CLOSE..=PONG) || !masked {
        return Ok(Err(PROTOCOL_ERROR));
    }
    if control && (first & 0x80 == 0 || short > 125) {
        return Ok(Err(PROTOCOL_ERROR));
    }
    let length = match short {
        126 => u64::from(connection.read_u16().await?),
        127 => connection.read_u64().await?,
        _ => u64::from(short),
    };
    let Some(length) = usize::try_from(length).ok().filter(|_| length <= MAX_FRAME) else {
        return Ok(Err(TOO_BIG));
    };
    let mut mask = [0; 4];
    connection.read_exact(&mut mask).await?;
    let mut payload = vec![0; length];
    connection.read_exact(&mut payload).await?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok(Ok(Frame { first, payload }))
}

/// Writes a frame without a mask, as servers do.
async fn write_frame(connection: &mut (impl AsyncWrite + Unpin), first: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(payload.len().saturating_add(10));
    frame.push(first);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..=125), _) => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    connection.write_all(&frame).await?;
    connection.flush().await
}
