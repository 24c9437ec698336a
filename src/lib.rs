//! Headgate (the map of the house follows when the rooms stand).

pub mod body;
pub mod diagnostic;
pub mod middleware;
pub mod objects;
pub mod shared;
pub mod target;
