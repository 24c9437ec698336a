//! CORS (the Fetch standard's): who may read answers from another origin's page.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, header};
use regex::Regex;

use super::{Options, value};
use crate::{
    body::Body,
    middleware::{Head, InvalidField, list, pattern},
};

const ANY: &str = "*";

/// The CORS part of `headers`.
#[derive(Debug)]
pub(super) struct Cors {
    credentials: bool,
    allow_headers: Option<Allowed>,
    allow_methods: Option<Allowed>,
    any_origin: bool,
    origins: Box<[HeaderValue]>,
    origin_regexes: Box<[Regex]>,
    expose_headers: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    vary: bool,
}

/// A list, ready to send.
#[derive(Debug)]
struct Allowed {
    list: HeaderValue,
    any: bool,
}

impl Cors {
    /// The CORS part, if any of its fields is set.
    pub(super) fn new(options: &Options) -> Result<Option<Self>, InvalidField> {
        let mut origin_regexes = Vec::new();
        for (index, expression) in options.access_control_allow_origin_list_regex.iter().enumerate() {
            let field = format!("accessControlAllowOriginListRegex[{index}]");
            origin_regexes.push(pattern::compile(&field, expression)?);
        }
        let (mut origins, mut any_origin) = (Vec::new(), false);
        for (index, origin) in options.access_control_allow_origin_list.iter().enumerate() {
            if origin == ANY {
                any_origin = true;
            } else {
                origins.push(value(origin, &format!("accessControlAllowOriginList[{index}]"))?);
            }
        }
        let max_age = options.access_control_max_age.map(HeaderValue::from);
        let cors = Self {
            credentials: options.access_control_allow_credentials,
            allow_headers: Allowed::new(&options.access_control_allow_headers, "accessControlAllowHeaders")?,
            allow_methods: Allowed::new(&options.access_control_allow_methods, "accessControlAllowMethods")?,
            any_origin,
            origins: origins.into(),
            origin_regexes: origin_regexes.into(),
            expose_headers: joined(&options.access_control_expose_headers, "accessControlExposeHeaders")?,
            max_age,
            vary: options.add_vary_header,
        };
        Ok(cors.is_set().then_some(cors))
    }

    fn is_set(&self) -> bool {
        self.credentials
            || self.allow_headers.is_some()
            || self.allow_methods.is_some()
            || self.any_origin
            || !self.origins.is_empty()
            || !self.origin_regexes.is_empty()
            || self.expose_headers.is_some()
            || self.max_age.is_some()
            || self.vary
    }

    /// The answer to a preflight: OPTIONS with Origin and Access-Control-Request-Method. An origin that is not allowed
    /// gets it too, without Access-Control-Allow-Origin, so that the browser refuses.
    pub(super) fn preflight(&self, head: &Head) -> Option<Response<Body>> {
        let asked = |name| head.headers.get(name).filter(|value| !value.is_empty());
        let method = asked(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        if head.method != Method::OPTIONS || asked(header::ORIGIN).is_none() {
            return None;
        }
        let mut answer = Response::new(Body::Empty);
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        let wanted = head.headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS);
        self.allow(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, self.allow_headers.as_ref(), wanted);
        self.allow(headers, header::ACCESS_CONTROL_ALLOW_METHODS, self.allow_methods.as_ref(), Some(method));
        if let Some(origin) = self.allowed_origin(head) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        if let Some(seconds) = &self.max_age {
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, seconds.clone());
        }
        Some(answer)
    }

    /// Browsers take `*` literally when credentials are sent, so what was asked for is allowed by name then.
    fn allow(&self, headers: &mut HeaderMap, name: HeaderName, allowed: Option<&Allowed>, asked: Option<&HeaderValue>) {
        let Some(allowed) = allowed else { return };
        let echoed = asked.filter(|asked| self.credentials && allowed.any && !asked.is_empty());
        headers.insert(name, echoed.unwrap_or(&allowed.list).clone());
    }

    /// What an answer to another origin's page says. A backend's own header stays where there is nothing to say.
    pub(super) fn response(&self, head: &Head, headers: &mut HeaderMap) {
        if let Some(origin) = self.allowed_origin(head) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        if self.credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        if let Some(list) = &self.expose_headers {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, list.clone());
        }
        if self.vary {
            vary_by_origin(headers);
        }
    }

    fn allowed_origin(&self, head: &Head) -> Option<HeaderValue> {
        let origin = head.headers.get(header::ORIGIN).filter(|value| !value.is_empty());
        if self.any_origin {
            return match origin {
                Some(origin) if self.credentials => Some(origin.clone()),
                _ => Some(HeaderValue::from_static(ANY)),
            };
        }
        let origin = origin?;
        let listed = self.origins.contains(origin)
            || origin.to_str().is_ok_and(|text| self.origin_regexes.iter().any(|regex| regex.is_match(text)));
        listed.then(|| origin.clone())
    }
}

impl Allowed {
    fn new(list: &[String], field: &str) -> Result<Option<Self>, InvalidField> {
        let any = list.iter().any(|item| item == ANY);
        Ok(joined(list, field)?.map(|list| Self { list, any }))
    }
}

fn joined(list: &[String], field: &str) -> Result<Option<HeaderValue>, InvalidField> {
    let value = value(&list.join(","), field)?;
    Ok((!value.is_empty()).then_some(value))
}

/// Adds Origin to Vary, unless it is there or Vary says everything.
fn vary_by_origin(headers: &mut HeaderMap) {
    if list::has(headers, &header::VARY, b"origin") || list::has(headers, &header::VARY, ANY.as_bytes()) {
        return;
    }
    let lines: Vec<&[u8]> = headers.get_all(header::VARY).iter().map(HeaderValue::as_bytes).collect();
    let mut all = lines.join(&b","[..]);
    if !all.is_empty() {
        all.push(b',');
    }
    all.extend_from_slice(b"Origin");
    if let Ok(value) = HeaderValue::from_bytes(&all) {
        headers.insert(header::VARY, value);
    }
}
