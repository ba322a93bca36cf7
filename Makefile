# make                build the release binary: target/release/millrace
# make test           everything that must hold: format, lints, all tests on real servers
# make lint           format and lints only
# make soak           at length: WORLDS (3000) simulated worlds on SQLite, WORLDS_ON_POSTGRES (300) on PostgreSQL, KILLS
#                     (100) of a busy daemon on each database, TABLES (60) random tables into each target
# make fuzz           inputs that nobody thought of: FUZZ_SECONDS (120) for each target, from the seed FUZZ_SEED (the time)
# make audit          known vulnerabilities of what comes from others (asks the network; needs cargo-audit)
# make bench          the benchmarks
# make bench-data     the benchmarks of moving tables
# make clean-servers  stop the PostgreSQL and MariaDB that tests left running

WORLDS ?= 3000
WORLDS_ON_POSTGRES ?= 300
FIRST ?= 0
KILLS ?= 100
TABLES ?= 60
FUZZ_SECONDS ?= 120
FUZZ_SEED ?= $(shell date +%s)

.PHONY: build setup lint test audit fuzz soak bench bench-data clean-servers

build:
	cargo build --release --locked

setup:
	@tests/setup.sh

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

test: setup
	@tests/run.sh

# The worlds are lived by an optimised build: it takes minutes to make, and lives ten worlds a second.
soak: setup
	MILLRACE_WORLD_SEEDS=$(WORLDS) MILLRACE_WORLD_SEEDS_ON_POSTGRES=$(WORLDS_ON_POSTGRES) \
		MILLRACE_WORLD_FIRST=$(FIRST) cargo test --release --locked -p millrace-scheduler --test engine \
		world::whatever_happens -- --nocapture --test-threads 1
	MILLRACE_KILLS=$(KILLS) cargo test --locked -p millrace-cli --test crash killed_again_and_again -- --nocapture --test-threads 1
	MILLRACE_TABLE_SEEDS=$(TABLES) MILLRACE_STRUCK_SEEDS=$$(($(TABLES) / 10)) \
		cargo test --locked -p millrace-connectors --test servers random::

# Random changes to a corpus, on the stable toolchain: libFuzzer wants a compiler that counts branches, which only nightly has.
fuzz:
	@echo "seed $(FUZZ_SEED)"
	MILLRACE_FUZZ_SECONDS=$(FUZZ_SECONDS) MILLRACE_FUZZ_SEED=$(FUZZ_SEED) cargo test --locked --no-fail-fast \
		-p millrace-dagfile -p millrace-settings -p millrace-connectors -p millrace-server fuzz_ -- --nocapture --test-threads 1

audit:
	cargo audit --deny warnings

bench: setup
	cargo bench --locked -p millrace-cli --bench scheduling

bench-data: setup
	cargo bench --locked -p millrace-cli --bench data

clean-servers:
	@cargo run --quiet --locked -p millrace-testkit --bin testkit-servers -- stop
