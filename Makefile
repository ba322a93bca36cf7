# make                build the release binary: target/release/millrace
# make test           everything that must hold: format, lints, all tests on real servers
# make lint           format and lints only
# make bench          the benchmarks
# make bench-data     the benchmarks of moving tables
# make clean-servers  stop the PostgreSQL and MariaDB that tests left running

.PHONY: build setup lint test bench bench-data clean-servers

build:
	cargo build --release --locked

setup:
	@tests/setup.sh

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

test: setup
	@tests/run.sh

bench: setup
	cargo bench --locked -p millrace-cli --bench scheduling

bench-data: setup
	cargo bench --locked -p millrace-cli --bench data

clean-servers:
	@cargo run --quiet --locked -p millrace-testkit --bin testkit-servers -- stop
