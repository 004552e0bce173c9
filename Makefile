# Two commands do everything on a fresh machine: `make up` and `make test`.

# Programs that rustup and Homebrew keep out of PATH.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin:/opt/homebrew/opt/rustup/bin:/usr/local/opt/rustup/bin:$(subst $() ,:,$(wildcard /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin))

# What `make check` needs beside Rust, built once at these versions and kept for all clones.
TOOLS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/waybill/tools
DENY_VERSION := 0.20.2
TYPOS_VERSION := 1.52.0
DENY := $(TOOLS)/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
TYPOS := $(TOOLS)/typos-$(TYPOS_VERSION)/bin/typos

# Words for the program, the tests or the benches: make up ARGS="--rate 50"
ARGS ?=

.PHONY: help up test check advisories bench setup
.DEFAULT_GOAL := help

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

up: ## build, and run everything on this machine (ARGS go to `waybill up`)
	@scripts/setup
	cargo build --release --locked -p waybill
	target/release/waybill up $(ARGS)

test: ## run all tests, with a real PostgreSQL, Kafka, Redis and browser (ARGS go to `cargo test`)
	@scripts/setup --tests
	cargo test --workspace --locked $(ARGS)

check: $(DENY) $(TYPOS) ## format, lints, licences, spelling, freshness of .sqlx/
	@scripts/setup
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(DENY) --log-level error --locked check bans licenses sources
	$(TYPOS)
	scripts/sqlx-prepare --check

# Apart from `check`: it asks the network, and tomorrow's answer may differ for the same code.
advisories: $(DENY) ## ask whether a dependency has a known hole
	$(DENY) --locked check advisories

bench: ## measure, and print ratios (ARGS go to the benches)
	@scripts/setup --bench
	cargo run --release --locked -p benches -- $(ARGS)

setup: ## install what is missing on this machine, for the tests too
	@scripts/setup --tests

$(DENY):
	@scripts/setup
	cargo install --quiet --locked --root $(TOOLS)/cargo-deny-$(DENY_VERSION) cargo-deny@$(DENY_VERSION)

$(TYPOS):
	@scripts/setup
	cargo install --quiet --locked --root $(TOOLS)/typos-$(TYPOS_VERSION) typos-cli@$(TYPOS_VERSION)
