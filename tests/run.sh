#!/bin/sh
# Format, lints, and every test. Called by `make test`; the servers it needs are installed by tests/setup.sh.
set -eu
cd "$(dirname "$0")/.."

# The shared servers would end by themselves, a quarter of an hour later.
stop_servers() {
    status=$?
    servers=${CARGO_TARGET_DIR:-target}/debug/testkit-servers
    if [ -x "$servers" ]; then
        "$servers" stop >/dev/null || echo "the test servers could not be stopped: try make clean-servers" >&2
    fi
    exit "$status"
}
# A test says what is wrong in its message; a hundred lines of frames would bury it.
export RUST_BACKTRACE=0

trap stop_servers EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

step() {
    echo "== $*"
    "$@"
}

step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
if cargo nextest --version >/dev/null 2>&1; then
    # nextest does not run the examples in documentation.
    step cargo test --workspace --doc --locked --quiet
    step cargo nextest run --workspace --locked
else
    step cargo test --workspace --locked --no-fail-fast
fi
