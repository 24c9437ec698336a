//! Types that deal with bodies: change their form, or read them whole.

use std::sync::Arc;

use super::fault::Fault;
use crate::{
    middleware::{Buffering, Compress, GrpcWeb, Middleware, buffering, compress},
    objects::middleware as object,
};

/// `compress`
pub(super) fn compress(fields: &object::Compress) -> Result<Middleware, Fault> {
    let object::Compress {
        excluded_content_types,
        included_content_types,
        min_response_body_bytes,
        encodings,
        default_encoding,
    } = fields;
    let options = compress::Options {
        excluded_content_types: excluded_content_types.clone().unwrap_or_default(),
        included_content_types: included_content_types.clone().unwrap_or_default(),
        min_response_body_bytes: bytes("compress.minResponseBodyBytes", *min_response_body_bytes, 0)?,
        encodings: encodings.clone(),
        default_encoding: default_encoding.clone(),
    };
    let built = Compress::new(&options).map_err(|e| Fault::field("compress", e))?;
    Ok(Middleware::Compress(Arc::new(built)))
}

/// `grpcWeb`
pub(super) fn grpc_web(fields: &object::GrpcWeb) -> Middleware {
    let object::GrpcWeb { allow_origins } = fields;
    Middleware::GrpcWeb(Arc::new(GrpcWeb::new(allow_origins.as_deref().unwrap_or_default())))
}

/// `buffering`
pub(super) fn buffering(fields: &object::Buffering) -> Result<Middleware, Fault> {
    let object::Buffering {
        max_request_body_bytes,
        mem_request_body_bytes,
        max_response_body_bytes,
        mem_response_body_bytes,
        retry_expression,
    } = fields;
    let options = buffering::Options {
        max_request: bytes("buffering.maxRequestBodyBytes", *max_request_body_bytes, 0)?,
        mem_request: bytes("buffering.memRequestBodyBytes", *mem_request_body_bytes, buffering::MEMORY)?,
        max_response: bytes("buffering.maxResponseBodyBytes", *max_response_body_bytes, 0)?,
        mem_response: bytes("buffering.memResponseBodyBytes", *mem_response_body_bytes, buffering::MEMORY)?,
        retry: retry_expression.clone(),
    };
    let built = Buffering::new(&options).map_err(|e| Fault::field("buffering", e))?;
    Ok(Middleware::Buffering(Arc::new(built)))
}

/// A number of bytes.
fn bytes(field: &str, written: Option<i64>, default: u64) -> Result<u64, Fault> {
    match written {
        None => Ok(default),
        Some(bytes) => u64::try_from(bytes).map_err(|_| {
            let name = field.rsplit('.').next().unwrap_or(field);
            Fault::of(
                field,
                format!("{name} is {bytes}, which is no number of bytes"),
                "write a number from 0 on, or remove the field",
            )
        }),
    }
}
