//! Headgate (the map of the house follows when the rooms stand).

pub mod balance;
pub mod body;
pub mod clock;
pub mod compile;
pub mod diagnostic;
pub mod dialect;
pub mod drain;
pub mod metrics;
pub mod middleware;
pub mod net;
pub mod objects;
pub mod settings;
pub mod shared;
pub mod sources;
pub mod table;
pub mod target;
