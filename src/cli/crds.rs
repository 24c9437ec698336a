//! `headgate crds`: prints what crds/ holds.

use crate::objects::crd;

/// Prints every definition, one YAML document each.
#[allow(clippy::print_stdout, reason = "printing is what this command is for")]
pub(super) fn run() -> anyhow::Result<()> {
    for (_, yaml) in crd::all()? {
        print!("{yaml}");
    }
    Ok(())
}
