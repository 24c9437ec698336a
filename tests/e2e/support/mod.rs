//! What the end-to-end tests stand on: the real binary, backends that record every byte, clients with full control
//! over theirs, and manifests in a temporary directory. Everything listens on port 0 and ends on drop.

pub(crate) mod backend;
pub(crate) mod cert;
pub(crate) mod client;
pub(crate) mod h2;
pub(crate) mod headgate;
pub(crate) mod hyper_backend;
pub(crate) mod manifests;
pub(crate) mod wait;
pub(crate) mod wire;

pub(crate) use backend::{Backend, Conn, Pods};
pub(crate) use cert::{Authority, Cert};
pub(crate) use client::{Answer, Client, request};
pub(crate) use h2::H2;
pub(crate) use headgate::Headgate;
pub(crate) use hyper_backend::HyperBackend;
pub(crate) use manifests::{Ingress, Manifests, Middleware, Secret, Service, Slice};
pub(crate) use wait::{DEADLINE, eventually, pause};
