//! Types that ask who the client is.

use std::sync::Arc;

use super::{Resolver, asked::ByUrl, fault::Fault};
use crate::{
    balance::Transport,
    compile::{
        transport::{OfMiddleware, of_middleware},
        view::View,
    },
    middleware::{
        BasicAuth, DigestAuth, ForwardAuth, Middleware,
        basic_auth::Users,
        forward_auth::{Address, Options},
    },
    objects::{Key, Meta, Secret, middleware as object},
};

/// `basicAuth`
pub(super) fn basic(view: &View<'_>, fields: &object::BasicAuth, meta: &Meta) -> Result<Middleware, Fault> {
    let object::BasicAuth { secret, realm, remove_header, header_field } = fields;
    let users = basic_users(found(view, meta, secret.as_deref(), "basicAuth.secret", "htpasswd")?)?;
    let built = BasicAuth::new(users, realm.as_deref(), remove_header.unwrap_or(false), header_field.as_deref());
    Ok(Middleware::BasicAuth(Arc::new(built.map_err(|e| Fault::field("basicAuth", e))?)))
}

fn basic_users(secret: &Secret) -> Result<Users, Fault> {
    let field = "basicAuth.secret";
    let built = if &*secret.kind == "kubernetes.io/basic-auth" {
        let key = secret.meta.key();
        let part = |name: &str| {
            let help = "a Secret of type kubernetes.io/basic-auth has the keys username and password";
            let text = format!("Secret {key} has no key {name}");
            secret.data.get(name).ok_or_else(|| wrong(field, text, help))
        };
        Users::single(part("username")?, part("password")?)
    } else {
        Users::htpasswd(lines(secret, field, "htpasswd")?)
    };
    built.map_err(|e| wrong(field, format!("Secret {}: {}", secret.meta.key(), e.message), &e.help))
}

/// `digestAuth`
pub(super) fn digest(view: &View<'_>, fields: &object::DigestAuth, meta: &Meta) -> Result<Middleware, Fault> {
    let object::DigestAuth { secret, realm, remove_header, header_field } = fields;
    let field = "digestAuth.secret";
    let secret = found(view, meta, secret.as_deref(), field, "htdigest")?;
    let lines = lines(secret, field, "htdigest")?;
    let built = DigestAuth::new(lines, realm.as_deref(), remove_header.unwrap_or(false), header_field.as_deref());
    let built = built.map_err(|e| match e.field.as_str() {
        "secret" => wrong(field, format!("Secret {}: {}", secret.meta.key(), e.message), &e.help),
        _ => Fault::field("digestAuth", e),
    })?;
    Ok(Middleware::DigestAuth(Arc::new(built)))
}

/// `forwardAuth`
pub(super) fn forward(
    resolver: &mut Resolver<'_>,
    fields: &object::ForwardAuth,
    meta: &Meta,
) -> Result<Middleware, Fault> {
    let object::ForwardAuth {
        address,
        trust_forward_header,
        auth_response_headers,
        auth_response_headers_regex,
        auth_request_headers,
        tls,
        add_auth_cookies_to_response,
        header_field,
        forward_body,
        max_body_size,
        max_response_body_size,
        preserve_location_header,
        preserve_request_method,
        auth_signin_url,
    } = fields;
    let fault = |e| Fault::field("forwardAuth", e);
    let address = Address::parse(address.as_deref().unwrap_or_default()).map_err(fault)?;
    // Beside an address of http it has no effect, and its author was told so.
    let tls = tls.as_ref().filter(|_| address.tls);
    let transport = tls.map(|tls| transport_to(resolver.view, tls, meta)).transpose()?.flatten();
    let server = resolver.server(&ByUrl {
        field: "forwardAuth.address",
        meta,
        https: address.tls,
        host: &address.host,
        port: address.port,
        transport,
    })?;
    let list = |l: &Option<Vec<String>>| l.clone().unwrap_or_default();
    let options = Options {
        trust_forward_header: *trust_forward_header,
        auth_request_headers: list(auth_request_headers),
        auth_response_headers: list(auth_response_headers),
        auth_response_headers_regex: auth_response_headers_regex.clone(),
        add_auth_cookies_to_response: list(add_auth_cookies_to_response),
        header_field: header_field.clone(),
        forward_body: forward_body.unwrap_or(false),
        max_body_size: max_body_size.unwrap_or(-1),
        max_response_body_size: max_response_body_size.unwrap_or(-1),
        preserve_location_header: preserve_location_header.unwrap_or(false),
        preserve_request_method: preserve_request_method.unwrap_or(false),
        auth_signin_url: auth_signin_url.clone(),
    };
    let built = ForwardAuth::new(server, address, &options).map_err(fault)?;
    Ok(Middleware::ForwardAuth(Arc::new(built)))
}

/// How a server that is asked over TLS is connected to, where that is not as the process's flags say.
fn transport_to(
    view: &View<'_>,
    fields: &object::ForwardAuthTls,
    meta: &Meta,
) -> Result<Option<Arc<Transport>>, Fault> {
    // `caOptional` has no effect, and its author was told so.
    let object::ForwardAuthTls { ca_secret, ca_optional: _, cert_secret, insecure_skip_verify } = fields;
    let asked = OfMiddleware {
        field: "forwardAuth.tls",
        namespace: &meta.namespace,
        ca_secret: ca_secret.as_deref(),
        cert_secret: cert_secret.as_deref(),
        insecure: *insecure_skip_verify,
        server_name: None,
    };
    Ok(of_middleware(view, &asked)?)
}

/// The Secret of the Middleware's namespace that a field names, with all its values readable. `file` is what kind of
/// lines it has.
fn found<'a>(
    view: &View<'a>,
    meta: &Meta,
    name: Option<&str>,
    field: &str,
    file: &str,
) -> Result<&'a Arc<Secret>, Fault> {
    let name = name.filter(|s| !s.is_empty());
    let name = name.ok_or_else(|| Fault::of(field, "it names no Secret", "name one with the users"))?;
    let key = Key::new(Arc::clone(&meta.namespace), name);
    let secret = view.secret(&key).ok_or_else(|| {
        let help = format!("create the Secret in the Middleware's namespace, with {file} lines under one key");
        Fault { code: "SecretNotFound", ..Fault::of(field, format!("Secret {key} does not exist"), help) }
    })?;
    match secret.broken.first() {
        Some(broken) => {
            let text = format!("key {broken} of Secret {key} is not base64");
            Err(wrong(field, text, "encode it, or use stringData"))
        }
        None => Ok(secret),
    }
}

/// The one value of a Secret.
fn lines<'a>(secret: &'a Secret, field: &str, file: &str) -> Result<&'a [u8], Fault> {
    let mut values = secret.data.values();
    match (values.next(), values.next()) {
        (Some(lines), None) => Ok(lines),
        (found, _) => {
            let count = if found.is_none() { "no key" } else { "several keys" };
            let help = format!("put the {file} lines under exactly one key");
            Err(wrong(field, format!("Secret {} has {count}", secret.meta.key()), &help))
        }
    }
}

/// A fault of a Secret that exists.
fn wrong(field: &str, text: String, help: &str) -> Fault {
    Fault { code: "SecretInvalid", ..Fault::of(field, text, help) }
}
