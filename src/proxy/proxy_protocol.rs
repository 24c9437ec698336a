//! The PROXY protocol, versions 1 and 2 (haproxy.org, `doc/proxy-protocol.txt`): who the client behind a load
//! balancer is.
//!
//! Takes the first bytes of a connection, as far as they have come, and says what they are; [`parse`] is pure and is
//! simply called again with more bytes. Whether the peer may be believed is decided before, by the caller.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of either version that is accepted, in bytes. A version 2 header could be 64 KiB of TLVs; what
/// load balancers send is a few hundred bytes.
pub const MAX_LENGTH: usize = 4096;

/// Longest header of version 1 with its CRLF, in bytes (specification §2.1).
const MAX_LENGTH_V1: usize = 107;

const PREFIX_V1: &[u8] = b"PROXY ";
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length.
const FIXED_V2: usize = 16;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The start of a header, perhaps: call again when more bytes have come.
    NeedMore,
    /// No PROXY header: the bytes belong to the next protocol.
    Absent,
    /// A whole header.
    Parsed {
        /// The client. None for `LOCAL` and `UNKNOWN`, and for Unix sockets: the connection's own peer counts then.
        source: Option<SocketAddr>,
        /// What the client had connected to; none as above.
        destination: Option<SocketAddr>,
        /// Bytes of the header; the next protocol starts behind them.
        length: usize,
    },
    /// A PROXY header that breaks the specification; it demands that the connection is closed. Says why.
    Invalid(&'static str),
}

/// Reads a header at the start of `bytes`, which may hold more than the header or only a part of it.
pub fn parse(bytes: &[u8]) -> Outcome {
    if starts_like(bytes, PREFIX_V1) {
        return if bytes.len() < PREFIX_V1.len() { Outcome::NeedMore } else { version_1(bytes) };
    }
    if starts_like(bytes, SIGNATURE_V2) {
        return version_2(bytes).unwrap_or(Outcome::NeedMore);
    }
    Outcome::Absent
}

/// Whether `bytes` and `expected` agree as far as both go.
fn starts_like(bytes: &[u8], expected: &[u8]) -> bool {
    bytes.iter().zip(expected).all(|(a, b)| a == b)
}

fn version_1(bytes: &[u8]) -> Outcome {
    let window = bytes.get(..MAX_LENGTH_V1).unwrap_or(bytes);
    let Some(end) = window.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if window.len() < MAX_LENGTH_V1 {
            Outcome::NeedMore
        } else {
            Outcome::Invalid("the line is longer than 107 bytes")
        };
    };
    match (window.get(end), window.get(end.saturating_add(1))) {
        (Some(b'\r'), Some(b'\n')) => {}
        (Some(b'\r'), None) if window.len() < MAX_LENGTH_V1 => return Outcome::NeedMore,
        (Some(b'\r'), None) => return Outcome::Invalid("the line is longer than 107 bytes"),
        _ => return Outcome::Invalid("the line does not end in CRLF"),
    }
    let line = window.get(PREFIX_V1.len()..end).unwrap_or_default();
    match fields_v1(line) {
        Ok(Some((source, destination))) => {
            Outcome::Parsed { source: Some(source), destination: Some(destination), length: end.saturating_add(2) }
        }
        Ok(None) => Outcome::Parsed { source: None, destination: None, length: end.saturating_add(2) },
        Err(why) => Outcome::Invalid(why),
    }
}

/// The line between `PROXY ` and CRLF. None for `UNKNOWN`, behind which anything may stand.
fn fields_v1(line: &[u8]) -> Result<Option<(SocketAddr, SocketAddr)>, &'static str> {
    if line == b"UNKNOWN" || line.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let line = std::str::from_utf8(line).map_err(|_| "the line is not ASCII")?;
    let mut fields = line.split(' ');
    let mut field = || fields.next().ok_or("a field is missing");
    let family = field()?;
    let (source, destination) = (field()?, field()?);
    let (source_port, destination_port) = (port(field()?)?, port(field()?)?);
    if fields.next().is_some() {
        return Err("there is more behind the ports");
    }
    let address = |text: &str| -> Result<IpAddr, &'static str> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| "an address is no IPv4 address"),
            "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| "an address is no IPv6 address"),
            _ => Err("the family is none of TCP4, TCP6 and UNKNOWN"),
        }
    };
    let source = SocketAddr::new(address(source)?, source_port);
    Ok(Some((source, SocketAddr::new(address(destination)?, destination_port))))
}

/// Decimal without sign or leading zeros, as the specification has it.
fn port(text: &str) -> Result<u16, &'static str> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.parse().ok().filter(|_| plain).ok_or("a port is no number from 0 to 65535")
}

/// None where bytes are missing.
fn version_2(bytes: &[u8]) -> Option<Outcome> {
    let version_and_command = *bytes.get(SIGNATURE_V2.len())?;
    if version_and_command >> 4 != 2 {
        return Some(Outcome::Invalid("the version is not 2"));
    }
    let local = match version_and_command & 0xf {
        0 => true,
        1 => false,
        _ => return Some(Outcome::Invalid("the command is neither LOCAL nor PROXY")),
    };
    let family = *bytes.get(13)?;
    // The specification lists these seven and wants connections with others dropped; LOCAL ignores the family.
    if !local && !matches!(family, 0x00 | 0x11 | 0x12 | 0x21 | 0x22 | 0x31 | 0x32) {
        return Some(Outcome::Invalid("the address family or transport is unknown"));
    }
    let behind = usize::from(u16::from_be_bytes([*bytes.get(14)?, *bytes.get(15)?]));
    let length = FIXED_V2.saturating_add(behind);
    let needed = if local { 0 } else { address_length(family) };
    if behind < needed {
        return Some(Outcome::Invalid("the length is too small for the addresses"));
    }
    if length > MAX_LENGTH {
        return Some(Outcome::Invalid("the header is longer than 4096 bytes"));
    }
    let addresses = bytes.get(FIXED_V2..length)?;
    let pair = match family >> 4 {
        _ if local => None,
        1 => pair_v4(addresses),
        2 => pair_v6(addresses),
        _ => None,
    };
    let (source, destination) = pair.unzip();
    Some(Outcome::Parsed { source, destination, length })
}

/// Bytes of the two addresses and ports: 4+4+2+2, 16+16+2+2, 108+108.
fn address_length(family: u8) -> usize {
    match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    }
}

fn pair_v4(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (source, rest) = bytes.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    let (source_port, destination_port) = ports(rest)?;
    Some((
        SocketAddr::new(Ipv4Addr::from(*source).into(), source_port),
        SocketAddr::new(Ipv4Addr::from(*destination).into(), destination_port),
    ))
}

fn pair_v6(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (source, rest) = bytes.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (source_port, destination_port) = ports(rest)?;
    Some((
        SocketAddr::new(Ipv6Addr::from(*source).into(), source_port),
        SocketAddr::new(Ipv6Addr::from(*destination).into(), destination_port),
    ))
}

fn ports(bytes: &[u8]) -> Option<(u16, u16)> {
    let (source, rest) = bytes.split_first_chunk::<2>()?;
    let (destination, _) = rest.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*source), u16::from_be_bytes(*destination)))
}

#[cfg(test)]
mod tests;
