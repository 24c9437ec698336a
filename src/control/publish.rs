//! Makes an outcome visible to workers: endpoints first, then cookies, then the table that names them.

use std::sync::Arc;

use crate::{compile::Outcome, shared::Shared, table::Table};

/// Swaps everything in. Requests under way keep what they have.
pub(super) fn publish(outcome: Outcome, table: &Shared<Table>) {
    for (service, set) in outcome.endpoints {
        service.endpoints().store(set);
    }
    for (group, services) in outcome.groups {
        let members = services.into_iter().flat_map(|service| {
            let tags = service.endpoints().load().tags().to_vec();
            tags.into_iter().map(move |tag| (tag, Arc::clone(&service)))
        });
        group.store(Arc::new(members.collect()));
    }
    if let Some(new) = outcome.table {
        table.store(new);
    }
}
