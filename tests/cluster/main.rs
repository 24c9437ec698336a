//! Headgate in a cluster with a real API server. Needs root, Go and minutes: `tests/cluster/run` makes the namespaces
//! that these tests expect, and runs them; README.md beside this file says how it works.

// A test that meets the unexpected should stop there and say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

mod acme;
mod classes;
mod definitions;
mod guide;
mod harness;
mod install;
mod outage;
mod privileges;
mod replicas;
mod reporting;
mod rolling;
mod scale;
mod scopes;
mod sticky;
