# The daily commands. `just` alone lists them; `just ci` is what a change must pass.

# Lists these commands
default:
    @just --list

# Everything that CI runs
ci:
    .ci/run

# Formats the code
fmt:
    cargo fmt --all

# Lints, with warnings as errors
lint:
    cargo fmt --all --check
    cargo clippy --all-targets --locked -- -D warnings

# All tests, or those whose name contains the argument: `just test sticky`
test *filter:
    cargo test --locked {{ filter }}

# End-to-end tests only
e2e *filter:
    cargo test --locked --test e2e {{ filter }}

# The documentation, with warnings as errors
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked

# Everything on loopback, nothing installed
demo:
    cargo run --release --locked -- demo

# What is wrong with these manifests: `just check examples`
check *paths="examples":
    cargo run --locked -- check {{ paths }}

# Licences, banned crates and sources (needs cargo-deny)
deny:
    cargo deny check bans licenses sources
