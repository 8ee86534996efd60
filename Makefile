# The front doors of this project; `make` alone lists them. What a door needs and the machine lacks is installed.

.DEFAULT_GOAL := help
.PHONY: help run test lint unit fuzz table clients image bench differential failover soak golden generate servers cargo

# A cargo that rustup has just installed is not on every shell's PATH yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

ARGS ?=
SECONDS ?= 300

help: ## this list
	@printf 'make TARGET\n\n'
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do \
		printf '  %-13s %s\n' $$name "$$what"; done

run: cargo ## a private master with two replicas and the ambassador before them, on port 6379 (ARGS='--replicas 3')
	@scripts/install-packages 'cc=gcc,libc6-dev' 'redis-server|valkey-server=redis-server'
	@cargo build --release --locked --quiet
	@exec target/release/redis-ambassador local $(ARGS)

test: ## everything that CI runs: servers, table, lint, unit, fuzz, clients, image
	@scripts/test

lint: ## format, clippy, documentation
	@scripts/test prepare lint

unit: ## unit, property and integration tests on real servers
	@scripts/test prepare servers unit

fuzz: cargo ## every fuzz target for 10 s; longer by scripts/fuzz SECONDS
	@scripts/test prepare fuzz

table: ## is config/commands.toml what the servers say
	@scripts/test prepare servers table

clients: ## client libraries, and Celery, RQ, BullMQ, Socket.IO, django-redis on top, direct and through it
	@scripts/test prepare servers clients

image: ## the container image and the pod, by podman
	@scripts/test prepare image

bench: cargo ## beside other proxies, interleaved; writes benches/RESULTS.md (ARGS='--only ...')
	@scripts/install-packages 'cc=gcc,libc6-dev' python3=python3 pip3=python3-pip strace=strace
	@scripts/install-servers
	@scripts/install-peers
	@cargo bench --locked --bench compare -- $(ARGS)

differential: cargo ## new random programs on plain servers and on the ambassador, for SECONDS=300 each
	@scripts/install-servers
	@AMBASSADOR_FUZZ_SECONDS=$(SECONDS) AMBASSADOR_FUZZ_KEEP_GOING=1 cargo test --locked --test differential -- ambassador_over

failover: cargo ## failovers under load, in numbers, beside redis-py and HAProxy; half an hour
	@scripts/failover

soak: cargo ## 15 minutes of random faults under load
	@scripts/failover soak

golden: ## tests/golden/commands.txt, from the table and the servers' COMMAND
	@scripts/install-servers
	@AMBASSADOR_REWRITE_GOLDEN=1 cargo test --locked --quiet --test golden

generate: ## config/commands.toml, from the servers' COMMAND and config/judgement.toml
	@scripts/install-packages python3=python3
	@scripts/generate-commands

servers: ## Redis 7.0, Redis 8.0 and Valkey 8.1 below .cache/servers
	@scripts/install-servers

cargo:
	@command -v cargo >/dev/null || { \
		echo 'cargo not found: install Rust 1.95 or newer, see https://rustup.rs'; exit 1; }
