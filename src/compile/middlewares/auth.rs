//! Types that ask who the client is.

use std::sync::Arc;

use super::fault::Fault;
use crate::{
    compile::view::View,
    middleware::{BasicAuth, Middleware, basic_auth::Users},
    objects::{Key, Meta, Secret, middleware as object},
};

/// `basicAuth`
pub(super) fn basic(view: &View<'_>, fields: &object::BasicAuth, meta: &Meta) -> Result<Middleware, Fault> {
    let name = fields.secret.as_deref().filter(|s| !s.is_empty());
    let name = name.ok_or_else(|| Fault::of("basicAuth.secret", "it names no Secret", "name one with the users"))?;
    let key = Key::new(Arc::clone(&meta.namespace), name);
    let secret = view.secret(&key).ok_or_else(|| {
        let help = "create the Secret in the Middleware's namespace, with htpasswd lines under one key";
        let fault = Fault::of("basicAuth.secret", format!("Secret {key} does not exist"), help);
        Fault { code: "SecretNotFound", ..fault }
    })?;
    let users = users(secret).map_err(|e| Fault { code: "SecretInvalid", ..e })?;
    let (realm, header) = (fields.realm.as_deref(), fields.header_field.as_deref());
    let built = BasicAuth::new(users, realm, fields.remove_header.unwrap_or(false), header);
    Ok(Middleware::BasicAuth(Arc::new(built.map_err(|e| Fault::field("basicAuth", e))?)))
}

fn users(secret: &Secret) -> Result<Users, Fault> {
    let key = secret.meta.key();
    let wrong = |text: String, help: &str| Fault::of("basicAuth.secret", text, help);
    if let Some(broken) = secret.broken.first() {
        return Err(wrong(format!("key {broken} of Secret {key} is not base64"), "encode it, or use stringData"));
    }
    let built = if &*secret.kind == "kubernetes.io/basic-auth" {
        let part = |name: &str| {
            let help = "a Secret of type kubernetes.io/basic-auth has the keys username and password";
            secret.data.get(name).ok_or_else(|| wrong(format!("Secret {key} has no key {name}"), help))
        };
        Users::single(part("username")?, part("password")?)
    } else {
        let mut values = secret.data.values();
        match (values.next(), values.next()) {
            (Some(lines), None) => Users::htpasswd(lines),
            (found, _) => {
                let count = if found.is_none() { "no key" } else { "several keys" };
                return Err(wrong(format!("Secret {key} has {count}"), "put the htpasswd lines under exactly one key"));
            }
        }
    };
    built.map_err(|e| wrong(format!("Secret {key}: {}", e.message), &e.help))
}
