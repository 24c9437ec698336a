//! The map of the house.
//!
//! The life of a change:
//!
//! ```text
//! sources ──► control ──► objects::store ──► compile (pure) ──► control::publish ──► table, balance
//!  files       takes in     what users         what changed,       swaps in
//!  cluster     batches      wrote              and no more            │
//!                 └────────── diagnostics ──► log, admin, check       ▼ workers see it at their next request
//! ```
//!
//! The life of a request, on one thread from its first byte to its last:
//!
//! ```text
//! proxy::listener ─► connection ─► admit ─► table::lookup ─► middleware::Chain ─► balance::pick ─► upstream
//!                                                                  ◄── answer, through the chain, back ◄──┘
//! ```
//!
//! Who may import whom is kept by tests/architecture.rs; docs/architecture.md draws both lives in full.

pub mod body;
pub mod clock;
pub mod diagnostic;
pub mod drain;
pub mod metrics;
pub mod net;
pub mod settings;
pub mod shared;
pub mod target;

pub mod objects;

pub mod sources;

pub mod dialect;

pub mod compile;

pub mod table;

pub mod balance;

pub mod middleware;

pub mod proxy;

pub mod report;

pub mod control;

pub mod admin;

pub mod cli;
