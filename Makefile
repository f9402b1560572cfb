# The repository's commands. Each does its own set-up; `make help` lists them.
# One set of features and one profile for clippy, build and tests: everything is compiled once.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
.NOTPARALLEL:

export CARGO_INCREMENTAL := 0
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(shell scripts/setup deno-folder)

PREFIX ?= /usr/local
target := $(or $(CARGO_TARGET_DIR),target)
everything := --locked --workspace --all-targets

.PHONY: help demo test check fmt clippy programs tidy openapi-check openapi tests doc-tests unprivileged bench-smoke build bench install clean \
	setup-build setup-demo setup-test setup-bench

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: ## Run code in five languages and an image in two classes, attack the sandbox, and show where the time went
	@scripts/demo

test: check tests doc-tests unprivileged bench-smoke ## Check and test everything

check: fmt clippy tidy openapi-check ## Check everything that can be checked without running tests

build: setup-build ## Build the release binary
	cargo build --locked --release -p vulcan --bin vulcan

bench: ## Measure against bare commands in the same minute (ARGS="--quick", ARGS="--json FILE")
	@scripts/bench $(ARGS)

openapi: programs ## Write openapi.json anew
	$(target)/debug/xtask openapi

install: build ## Install the release binary to PREFIX/bin (/usr/local/bin)
	install -D -m 755 $(target)/release/vulcan $(DESTDIR)$(PREFIX)/bin/vulcan

clean: ## Remove what was built
	cargo clean

fmt: setup-test
	cargo fmt --all --check

clippy: setup-test
	cargo clippy $(everything) -- -D warnings

programs: setup-test
	cargo build $(everything)

tidy: programs
	$(target)/debug/xtask tidy

openapi-check: programs
	$(target)/debug/xtask openapi --check

tests: programs
	cargo nextest run --locked --workspace

doc-tests: programs
	cargo test --locked --workspace --doc

unprivileged: tests
	scripts/test-unprivileged

bench-smoke: programs
	$(target)/debug/vulcan-benches --vulcan $(target)/debug/vulcan --quick

setup-build setup-demo setup-test setup-bench: setup-%:
	@scripts/setup $*
