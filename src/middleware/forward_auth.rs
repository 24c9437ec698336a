//! `forwardAuth`: asks another server whether a request may pass.
//!
//! Takes the server's address and what it is told; an answer of 2xx lets the request pass, with headers of that answer
//! set on it, and any other is what the client gets. Where the server can't be asked, the client gets 500 and the
//! backend nothing. What a client sends under the names of the answer's headers never reaches the backend, whether the
//! server has sent them or not.

mod address;
mod answer;
mod question;

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use regex::Regex;

pub use address::Address;

use self::question::Question;
use super::{Failed, InvalidField, Next, Request, Upstream, headers, pattern};
use crate::{balance::Service, body::Body, clock};

/// How long the server has for its whole answer, as in Traefik.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The fields of `forwardAuth` as they were written, except for the address and its TLS.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Whether X-Forwarded-* that a trusted peer has sent are passed on to the server. Where it is not said, only those
    /// are replaced that Traefik always has set.
    pub trust_forward_header: Option<bool>,
    /// The request headers that the server gets; all, where there are none.
    pub auth_request_headers: Vec<String>,
    /// Headers of the answer that the backend gets in place of the client's.
    pub auth_response_headers: Vec<String>,
    /// The same for names that match.
    pub auth_response_headers_regex: Option<String>,
    /// Cookies of the answer that the client gets.
    pub add_auth_cookies_to_response: Vec<String>,
    /// The header of the answer that names the user, for the access log.
    pub header_field: Option<String>,
    /// Whether the server gets the request's body.
    pub forward_body: bool,
    /// The most bytes of it; negative for any.
    pub max_body_size: i64,
    /// The most bytes of the answer's body; negative for any.
    pub max_response_body_size: i64,
    /// Whether a relative Location stays as it is.
    pub preserve_location_header: bool,
    /// Whether the server is asked by the request's method.
    pub preserve_request_method: bool,
    /// Where the client is sent in place of a 401.
    pub auth_signin_url: Option<String>,
}

/// Traefik's `forwardAuth`, ready to run.
#[derive(Debug)]
pub struct ForwardAuth {
    server: Arc<Service>,
    address: Address,
    question: Question,
    response_headers: Box<[HeaderName]>,
    response_headers_regex: Option<Regex>,
    cookies: Box<[Box<[u8]>]>,
    user: Option<HeaderName>,
    max_response_body: Option<u64>,
    preserve_location: bool,
    sign_in: Option<HeaderValue>,
}

impl ForwardAuth {
    /// `server` is what `address` leads to.
    ///
    /// # Errors
    /// [`InvalidField`] for names that can't be headers or are the proxy's own, for a regex that doesn't parse or is
    /// too big, for a sign-in URL that can't stand in a Location.
    pub fn new(server: Arc<Service>, address: Address, options: &Options) -> Result<Self, InvalidField> {
        let response_headers = names(&options.auth_response_headers, "authResponseHeaders")?;
        let refused = |name: &&HeaderName| headers::is_the_proxys(name) || *name == header::HOST;
        if let Some((index, name)) = response_headers.iter().enumerate().find(|(_, name)| refused(name)) {
            let message = format!("`{name}` belongs to the connection or says where the request goes");
            let field = format!("authResponseHeaders[{index}]");
            return Err(InvalidField::new(field, message, "Remove it: it can't be taken over from another server"));
        }
        let regex = options.auth_response_headers_regex.as_deref().filter(|pattern| !pattern.is_empty());
        // Names of headers have no case, so the pattern has none either.
        let compile = |pattern| pattern::compile_caseless("authResponseHeadersRegex", pattern);
        let response_headers_regex = regex.map(compile).transpose()?;
        let user = options.header_field.as_deref().filter(|name| !name.is_empty());
        let cookies = options.add_auth_cookies_to_response.iter().map(|name| name.as_bytes().into());
        let sign_in = options.auth_signin_url.as_deref().filter(|url| !url.is_empty()).map(sign_in).transpose()?;
        Ok(Self {
            server,
            question: Question::new(options)?,
            address,
            response_headers: response_headers.into(),
            response_headers_regex,
            cookies: cookies.collect(),
            user: user.map(|name| headers::name(name, "headerField")).transpose()?,
            max_response_body: u64::try_from(options.max_response_body_size).ok(),
            preserve_location: options.preserve_location_header,
            sign_in,
        })
    }

    /// Asks the server, and sends the request on if it may pass.
    pub async fn around<U: Upstream>(&self, request: &mut Request, mut next: Next<'_, U>) -> Response<Body> {
        let idle = next.upstream().body_idle();
        let body = match self.question.body(request, idle).await {
            Ok(body) => body,
            Err(status) => return bare(status),
        };
        let question = self.question.about(&request.head, &self.address, body.as_ref());
        let asked = clock::limit(TIMEOUT, async {
            let answer = next.upstream().fetch(&self.server, question).await;
            // 101 is never asked for.
            if answer.extensions().get::<Failed>().is_some() || answer.status().is_informational() {
                return Err(bare(StatusCode::INTERNAL_SERVER_ERROR));
            }
            self.judge(answer).await
        });
        let allowed = match asked.await {
            Ok(Ok(allowed)) => allowed,
            Ok(Err(answer)) => return answer,
            Err(clock::Elapsed) => return bare(StatusCode::INTERNAL_SERVER_ERROR),
        };
        self.mark(&allowed, &mut request.head);
        let mut answer = next.run(request).await;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            self.add_cookies(&allowed, answer.headers_mut());
        }
        answer
    }
}

/// An answer without a body, as Traefik gives it where the server could not be asked.
fn bare(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::Empty);
    *answer.status_mut() = status;
    answer
}

/// Names of headers, each once.
fn names(texts: &[String], field: &str) -> Result<Vec<HeaderName>, InvalidField> {
    let mut names = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let name = headers::name(text, &format!("{field}[{index}]"))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn sign_in(url: &str) -> Result<HeaderValue, InvalidField> {
    let visible = url.bytes().all(|byte| byte.is_ascii_graphic());
    HeaderValue::from_str(url).ok().filter(|_| visible).ok_or_else(|| {
        let message = format!("`{}` can't be sent as a Location", url.escape_debug());
        InvalidField::new("authSigninURL", message, "Write a URL; percent-encode what is not ASCII")
    })
}

#[cfg(test)]
mod tests;
