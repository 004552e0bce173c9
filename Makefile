# Two commands do everything on a fresh machine: `make up` and `make test`.

# Folders of programs that rustup and Homebrew do not put into PATH.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin:/opt/homebrew/opt/rustup/bin:/usr/local/opt/rustup/bin:$(subst $() ,:,$(wildcard /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin))

CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/waybill

# librdkafka cannot be built below a folder with a space in its name, so the target folder of such a
# clone is in the user's cache folder. The number separates the clones.
ifneq ($(words $(CURDIR)),1)
export CARGO_TARGET_DIR ?= $(CACHE)/target-$(shell pwd | cksum | cut -d ' ' -f 1)
endif
TARGET := $(or $(CARGO_TARGET_DIR),target)

# Tools of `make check`. They are installed once, in these versions, and shared by all clones:
# cargo-deny is built, typos is downloaded by `scripts/setup --check`.
TOOLS := $(CACHE)/tools
DENY_VERSION := 0.20.2
TYPOS_VERSION := 1.52.0
DENY := $(TOOLS)/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
TYPOS := $(TOOLS)/typos-$(TYPOS_VERSION)/bin/typos

# psql's variables are for servers of the user, and not for those that the tests start.
WITHOUT_PSQL := env $(addprefix -u ,PGOPTIONS PGSSLMODE PGSSLROOTCERT PGSSLCERT PGSSLKEY PGSERVICE PGCHANNELBINDING PGREQUIREAUTH PGGSSENCMODE PGHOST PGHOSTADDR PGPORT PGUSER PGPASSWORD PGDATABASE)

# The tests that run at once. Many of them wait for a server or for a time to pass, so two cores can
# run four.
export RUST_TEST_THREADS ?= 4

# Arguments for the program, the tests or the benches: make up ARGS="--rate 50"
ARGS ?=
# Duration of a soak (default 30), or of the search for inputs on each fuzz target (default 5).
MINUTES ?=

.PHONY: help up test check advisories bench soak fuzz compat containers setup
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

up: ## build Waybill and run everything on this machine (ARGS: `waybill up`)
	@scripts/setup
	cargo build --release --locked -p waybill
	"$(TARGET)/release/waybill" up $(ARGS)

test: ## run all tests, with a real PostgreSQL, Kafka, Redis and browser (ARGS: `cargo test`)
	@scripts/setup --tests
	$(WITHOUT_PSQL) cargo test --workspace --locked $(ARGS)

check: $(DENY) ## check format, lints, licences, spelling, vendored files, and that .sqlx/ is up to date
	@scripts/setup --check
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	$(DENY) --log-level error --locked check bans licenses sources
	$(TYPOS)
	cd crates/chassis/src/web/assets/vendor && if command -v sha256sum > /dev/null; then sha256sum -c SHA256SUMS; else shasum -a 256 -c SHA256SUMS; fi
	scripts/sqlx-prepare --check

# Not a part of `check`, because it needs the network and its result may change without a change of
# the code.
advisories: $(DENY) ## check the dependencies for known vulnerabilities
	$(DENY) --locked check advisories

bench: ## measure, and print ratios (ARGS: the benches)
	@scripts/setup --bench
	cargo run --release --locked -p benches -- $(ARGS)

# Not a part of `test`: it searches for as long as requested. The inputs that it has found are replayed
# by `test`.
fuzz: ## search for inputs that break the parsers (MINUTES for each target; ARGS: the targets)
	@scripts/setup
	scripts/fuzz $(or $(MINUTES),5) $(ARGS)

# Not a part of `test`: it downloads the other versions with Maven.
compat: ## run a short test with faults on older and newer Kafka and PostgreSQL (ARGS: `chaos compat`)
	@scripts/setup --tests
	scripts/compat $(ARGS)

soak: ## run Waybill under faults for MINUTES, and judge the result (ARGS: `chaos soak`)
	@scripts/setup --tests
	cargo build --profile soak --locked -p waybill -p chaos --features waybill/failpoints
	$(WITHOUT_PSQL) "$(TARGET)/soak/chaos" soak --minutes $(or $(MINUTES),30) $(ARGS)

containers: ## build the image and run compose.yaml on a Docker engine (Linux, as root)
	@scripts/setup --containers
	scripts/containers $(ARGS)

setup: ## install the programs that are missing on this machine, including those of the tests
	@scripts/setup --tests

$(DENY):
	@scripts/setup
	cargo install --quiet --locked --root $(TOOLS)/cargo-deny-$(DENY_VERSION) cargo-deny@$(DENY_VERSION)
