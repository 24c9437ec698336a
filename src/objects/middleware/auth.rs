//! The types of a Middleware that ask who the client is, and how TLS to another server is set up for that.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NoEffect;

/// HTTP Basic authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// The Secret with the users, in the Middleware's namespace: of type kubernetes.io/basic-auth, or with one key that
    /// holds htpasswd lines (bcrypt, MD5, SHA1).
    pub secret: Option<String>,
    /// The realm that browsers show. Without it, traefik.
    pub realm: Option<String>,
    /// Removes the Authorization header before the request is forwarded.
    pub remove_header: Option<bool>,
    /// The request header that tells the backend the user's name.
    pub header_field: Option<String>,
}

/// HTTP Digest authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DigestAuth {
    /// The Secret with the users, in the Middleware's namespace, with one key that holds htdigest lines
    /// (user:realm:hash).
    pub secret: Option<String>,
    /// The realm that browsers show, and that the users' hashes were made with. Without it, traefik.
    pub realm: Option<String>,
    /// Removes the Authorization header before the request is forwarded.
    pub remove_header: Option<bool>,
    /// The request header that tells the backend the user's name.
    pub header_field: Option<String>,
}

/// Asks another server whether a request may pass: an answer of 2xx lets it, any other is what the client gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForwardAuth {
    /// The URL that is asked.
    pub address: Option<String>,
    /// Whether X-Forwarded-* headers that the client sent are passed on to the server.
    pub trust_forward_header: Option<bool>,
    /// Headers of the server's answer that are set on the request before it is forwarded, in place of the client's.
    pub auth_response_headers: Option<Vec<String>>,
    /// The same, for headers whose name matches a regular expression.
    pub auth_response_headers_regex: Option<String>,
    /// The request headers that the server gets. Without it, all.
    pub auth_request_headers: Option<Vec<String>>,
    /// How the connection to the server is secured.
    pub tls: Option<ForwardAuthTls>,
    /// Cookies of the server's answer that are set on the answer to the client.
    pub add_auth_cookies_to_response: Option<Vec<String>>,
    /// The header of the server's answer that names the user, for the access log.
    pub header_field: Option<String>,
    /// Sends the request's body to the server as well. Default: false.
    pub forward_body: Option<bool>,
    /// The most bytes of a body that is sent to the server; a longer one is refused with 401. Default: -1, any.
    pub max_body_size: Option<i64>,
    /// The most bytes of the body of the server's answer; a longer one is refused with 401. Default: -1, any.
    pub max_response_body_size: Option<i64>,
    /// Passes a Location of the server's answer on as it is. Default: false, a relative one is completed with the
    /// server's address.
    pub preserve_location_header: Option<bool>,
    /// Asks the server with the method of the request. Default: false, with GET.
    pub preserve_request_method: Option<bool>,
    /// Where the client is redirected when the server answers 401.
    #[serde(rename = "authSigninURL")]
    pub auth_signin_url: Option<String>,
}

impl ForwardAuth {
    /// Fields that are deprecated, or that another one makes idle.
    pub(super) fn without_effect(&self) -> Vec<NoEffect> {
        let mut found = Vec::new();
        let mut say = |field: &str, message: &str, help| {
            found.push(NoEffect::new(format!("spec.forwardAuth.{field}"), message, help));
        };
        if self.tls.as_ref().is_some_and(|tls| tls.ca_optional.is_some()) {
            say(
                "tls.caOptional",
                "is deprecated and has no effect",
                "Remove it: a server always shows its certificate",
            );
        }
        if self.tls.is_some() && self.address.as_ref().is_some_and(|url| url.to_ascii_lowercase().starts_with("http:"))
        {
            say("tls", "has no effect, because the address is http", "Write https:// in the address, or remove it");
        }
        if self.max_body_size.is_some() && self.forward_body != Some(true) {
            say("maxBodySize", "has no effect without forwardBody", "Write `forwardBody: true`, or remove it");
        }
        found
    }
}

/// TLS to the server that is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForwardAuthTls {
    /// The Secret with the certificates that the server's must come from, under the key tls.ca or ca.crt.
    pub ca_secret: Option<String>,
    /// Deprecated, no effect.
    pub ca_optional: Option<bool>,
    /// The Secret with the certificate to show to the server, under the keys tls.crt and tls.key.
    pub cert_secret: Option<String>,
    /// Doesn't check the server's certificate. Default: false.
    pub insecure_skip_verify: Option<bool>,
}

/// TLS to another server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientTls {
    /// The Secret with the certificates that the server's must come from, under the key tls.ca or ca.crt.
    pub ca_secret: Option<String>,
    /// The Secret with the certificate to show to the server, under the keys tls.crt and tls.key.
    pub cert_secret: Option<String>,
    /// Doesn't check the server's certificate. Default: false.
    pub insecure_skip_verify: Option<bool>,
}
