# Two commands on a machine that has only Rust: `make demo` shows a campaign, `make test` runs the tests.
# Each installs what it needs by the system's package manager, and says so.

SHELL := /bin/sh
.DEFAULT_GOAL := help
# Recipes measure and start servers: never two at once.
.NOTPARALLEL:

CARTEIRO := target/release/carteiro
# Options of the demonstration, such as DEMO="--recipients 1000000".
DEMO ?=
# How often `make fuzz` tries.
CASES ?= 100000
# Where trials put Redis' files: on the disk of this folder, not on one that is only memory.
BENCH := $(CARTEIRO) bench --json --dir target

# How often `make chaos` kills, and what it draws from.
ENGINE_KILLS ?= 200
REDIS_KILLS ?= 50
SEED ?= 1

.PHONY: help demo test fuzz check figures bench chaos build need-cargo need-redis need-wrk

help:
	@echo 'make demo     one campaign on this machine, from a file to the verdict (DEMO="--recipients 1000000")'
	@echo 'make test     all tests; the last line says how many passed and failed'
	@echo 'make chaos    kills engines and Redis while they send, and judges (ENGINE_KILLS=200 REDIS_KILLS=50 SEED=1); minutes'
	@echo 'make fuzz     bends everything that comes from outside, CASES=100000 of each kind; make test does so briefly'
	@echo 'make check    format, lints, documentation'
	@echo 'make figures  every figure of the README as JSON; takes some minutes, let nothing else run'
	@echo 'make bench    the micro benchmarks'

demo: need-redis build
	@$(CARTEIRO) demo $(DEMO)

test: need-cargo need-redis
	@.ci/test

# What it finds is kept in proptest-regressions/ here and in tests/, and is tried first from then on.
fuzz: need-cargo
	PROPTEST_CASES=$(CASES) cargo test --test fuzz
	PROPTEST_CASES=$(CASES) cargo test --lib -- webhook codec classify records journal

check: need-cargo
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --document-private-items

chaos: need-cargo need-redis
	@ENGINE_KILLS=$(ENGINE_KILLS) REDIS_KILLS=$(REDIS_KILLS) SEED=$(SEED) .ci/chaos

bench: need-cargo need-redis
	cargo bench --benches

figures: need-redis need-wrk build
	@.ci/figures $(BENCH)

build: need-cargo
	@cargo build --release

need-cargo:
	@command -v cargo >/dev/null || { echo 'Rust is missing: install it from https://rustup.rs, then try again'; exit 1; }

need-redis:
	@.ci/need redis-server redis

need-wrk:
	@.ci/need wrk wrk
