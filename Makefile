# One command per task; `make help` lists them. Everything is built inside the clone: .venv, target, build, node_modules.
# Stamp files in .venv remember what is built, so that a command with nothing to do starts at once.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory --no-builtin-rules

PYTHON ?= python3
ARGS ?=
FUZZ_SECONDS ?= 600
PROGRAMS := mosquitto_pub:mosquitto-clients node:nodejs npm:npm openssl:openssl

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
MADE := $(VENV)/.made-by-$(notdir $(PYTHON))
TOOLS := $(VENV)/.tools
DEV := $(VENV)/.dev
COMPILED := $(VENV)/.compiled$(if $(filter 1,$(PURE)),-pure)
LOAD := target/release/pybroker-load
NODE := tests/e2e/node_modules/.package-lock.json
LOCKED := $(if $(CI),--locked)

RUST := Cargo.toml Cargo.lock $(shell find rust_core -name target -prune -o \( -name '*.rs' -o -name Cargo.toml \) -print)
MODULES := $(shell find pybroker -name '*.py' -o -name '*.pxd')
CRATES := -p pybroker-core -p pybroker-engine $(if $(wildcard bench/load/Cargo.toml),-p pybroker-load)

export PURE
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH):$(HOME)/.cargo/bin
# With these (and the signature that lint-rust adds) bare cargo sees what maturin shows it, and PyO3 is compiled once.
export PYO3_BUILD_EXTENSION_MODULE := 1
export PYO3_PYTHON := $(CURDIR)/$(PY)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

find = $(shell PATH="$(PATH)" command -v $(1))
rust_is_new = $(shell PATH="$(PATH)" cargo --version 2>/dev/null | awk '{split($$2, v, "."); if (v[1] > 1 || v[2] >= 88) print "yes"}')
python_is_new = $(shell $(PYTHON) -c 'import sys; print("yes" if sys.version_info >= (3, 11) else "")' 2>/dev/null)
python_has_venv = $(shell $(PYTHON) -c 'import ensurepip, venv; print("yes")' 2>/dev/null)

.PHONY: help setup build fmt lint test test-rust test-python test-all fuzz fuzz-smoke soak docs serve run check clean dist
.PHONY: bench bench-peers bench-shards bench-features bench-growth bench-admin bench-access bench-tenants bench-micro bench-smoke
.PHONY: lint-rust lint-python rust-summary toolchain programs node constraints install-check

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  options: PYTHON=python3.12 (interpreter), PURE=1 (no Cython), ARGS="..." (for serve, run and test-python)'

# What the machine must have. Each missing thing is one line.

toolchain:
	$(if $(python_is_new),,$(error pybroker needs Python 3.11 or newer: $(PYTHON) is missing or older; install it, or name another with PYTHON=python3.12))
	$(if $(python_has_venv),,$(error pybroker needs the venv module of $(PYTHON): install it (Debian: apt-get install python3-venv), then run make again))
	$(if $(call find,cargo),,$(error pybroker needs cargo (Rust 1.88 or newer): install it with rustup or your distribution, then run make again))
	$(if $(rust_is_new),,$(error pybroker needs Rust 1.88 or newer and this cargo is older: update it with rustup, then run make again))
	$(if $(call find,$${CC:-cc}),,$(error pybroker needs a C compiler: install gcc or clang (Debian: apt-get install gcc libc6-dev), then run make again))
	@:

# The virtual environment, and the modules built into the source tree.

$(MADE): | toolchain
	@rm -rf $(VENV)
	@echo 'creating $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(TOOLS): pyproject.toml constraints.txt $(MADE)
	@$(PIP) --group build
	@touch $@

$(DEV): pyproject.toml constraints.txt $(MADE)
	@echo 'installing the development packages'
	@$(PIP) --group dev
	@touch $@

$(VENV)/.core-%: $(RUST) build_backend/backend.py pyproject.toml $(TOOLS) | toolchain
	@rm -f $(VENV)/.core-*
	@echo 'building the Rust core ($* profile): minutes the first time, seconds later'
	@MATURIN_PEP517_ARGS='--profile $* $(LOCKED)' $(PIP) --no-build-isolation --editable .
	@touch $@
.PRECIOUS: $(VENV)/.core-%

$(COMPILED): $(MODULES) build_backend/backend.py pyproject.toml $(TOOLS)
	@rm -f $(VENV)/.compiled*
	@$(PY) build_backend/backend.py
	@touch $@

setup: $(DEV) node ## create .venv with every development package

build: $(VENV)/.core-dev $(COMPILED) ## build the Rust and Cython modules (dev profile) into the source tree

# Running.

serve: $(VENV)/.core-release $(COMPILED) ## build in release mode and start the broker
	@exec $(PY) -m pybroker serve $(ARGS)

run: build ## start the broker with the quick dev build
	@exec $(PY) -m pybroker serve $(ARGS)

# Checking.

fmt: $(DEV) ## lay out Rust and Python sources
	cargo fmt --all
	cargo fmt --manifest-path tests/fuzz/Cargo.toml
	$(PY) -m ruff check --fix --quiet .
	$(PY) -m ruff format .

lint: | toolchain ## layout, clippy, ruff, mypy, import layers, stub
	@status=0; $(MAKE) lint-rust || status=1; $(MAKE) lint-python || status=1; exit $$status

lint-rust: $(TOOLS)
	cargo fmt --all --check
	cargo fmt --manifest-path tests/fuzz/Cargo.toml --check
	PYO3_ENVIRONMENT_SIGNATURE="$$($(PY) -c 'import sys; print("cpython-%d.%d-64bit" % sys.version_info[:2])')" \
	    cargo clippy $(LOCKED) --workspace --all-targets --keep-going -- -D warnings
	@# The fuzz crate is only checked here; the path keeps libFuzzer itself from being compiled for that.
	CUSTOM_LIBFUZZER_PATH=/dev/null CARGO_TARGET_DIR=target cargo check --quiet --manifest-path tests/fuzz/Cargo.toml --bins

lint-python: build $(DEV)
	@status=0; check() { echo "$$*"; "$$@" || status=1; }; \
	check ruff check .; \
	check ruff format --check .; \
	check mypy pybroker admin tests bench; \
	check lint-imports; \
	check python -m mypy.stubtest --mypy-config-file pyproject.toml pybroker._core; \
	exit $$status

test: | toolchain ## build what is needed, run every test and try the benchmarks
	@mkdir -p build; status=0; $(MAKE) test-rust || status=1; $(MAKE) fuzz-smoke || status=1; $(MAKE) test-python || status=1; \
	$(MAKE) bench-smoke || status=1; $(MAKE) --silent rust-summary; exit $$status

test-rust: | toolchain ## tests of the Rust crates
	@mkdir -p build
	cargo test $(LOCKED) --no-fail-fast $(CRATES) 2>&1 | tee build/cargo-test.txt

rust-summary:
	@touch build/cargo-test.txt
	@awk '/^test result:/ {p += $$4; f += $$6; s += $$8} END {printf "rust: %d passed, %d failed, %d skipped\n", p, f, s}' build/cargo-test.txt

test-python: build $(DEV) programs node ## tests of the Python side and of the whole program
	$(PY) -m pytest $(ARGS)

test-all: ## test, then uncompiled, then the wheel in an empty environment, then a short fuzz of each parser
	@$(MAKE) test
	@$(MAKE) test-python PURE=1
	@$(MAKE) install-check
	@$(MAKE) fuzz FUZZ_SECONDS=60

check: | toolchain ## what CI runs: lint and test
	@status=0; $(MAKE) lint || status=1; $(MAKE) test || status=1; exit $$status

fuzz: target/tools/bin/cargo-fuzz ## fuzz every parser, FUZZ_SECONDS each
	@for name in $$($< list --fuzz-dir tests/fuzz); do \
	    echo "fuzzing $$name for $(FUZZ_SECONDS) s"; \
	    RUSTC_BOOTSTRAP=1 $< run --fuzz-dir tests/fuzz "$$name" -- -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -malloc_limit_mb=64 || exit 1; \
	done

fuzz-smoke: | toolchain ## every parser once over its kept corpus
	@cargo build --quiet $(LOCKED) --manifest-path tests/fuzz/Cargo.toml --target-dir target --bins
	@for corpus in tests/fuzz/corpus/*; do \
	    log="build/fuzz-$$(basename "$$corpus").txt"; mkdir -p build; \
	    target/debug/$$(basename "$$corpus") -runs=0 -timeout=10 "$$corpus" > "$$log" 2>&1 || { cat "$$log"; exit 1; }; \
	    echo "fuzz corpus $$(basename "$$corpus"): $$(ls "$$corpus" | wc -l) inputs, none fails"; \
	done

target/tools/bin/cargo-fuzz: | toolchain
	cargo install --quiet --locked --root target/tools cargo-fuzz@0.13.2

soak: $(VENV)/.core-release $(COMPILED) $(DEV) ## the long tests
	$(PY) -m pytest -m soak --timeout 0 $(ARGS)

$(LOAD): $(shell find bench/load -name '*.rs' -o -name Cargo.toml) Cargo.lock | toolchain
	cargo build $(LOCKED) --release -p pybroker-load
	@touch $@

bench: $(VENV)/.core-release $(COMPILED) $(LOAD) ## measure the broker beside mosquitto and a bare relay, under ten minutes
	$(PY) -m bench.run --seconds 1.2 --warmup 0.3 $(ARGS)

bench-peers: $(VENV)/.core-release $(COMPILED) $(LOAD) ## measure it beside all installed peers, every scenario
	$(PY) -m bench.run --tier all --brokers pybroker,mosquitto,rumqttd,rmqtt,mochi --skip-missing --repeat 3 --seconds 1 --warmup 0.3 \
	    --output bench/results/peers.json $(ARGS)

bench-shards: $(VENV)/.core-release $(COMPILED) $(LOAD) ## measure two shards beside one: at most 10 % dearer in any row
	$(PY) -m bench.run --brokers pybroker:one-shard,pybroker:two-shards --seconds 1 --warmup 0.3 \
	    --output bench/results/shards.json $(ARGS)
	$(PY) -m bench.verdict bench/results/shards.json --base pybroker:one-shard --within 10

bench-features: $(VENV)/.core-release $(COMPILED) $(LOAD) ## measure what 10,000 access rules and a mountpoint add to a message: at most 5 %, 3 %
	$(PY) -m bench.paired itself access-rules mounted --scenarios fanin-qos0 pairs-qos0 fanout-100-qos0 \
	    --output bench/results/features.json $(ARGS)

bench-growth: $(VENV)/.core-release $(COMPILED) $(LOAD) ## measure that neither cost nor memory grows with connections, filters, fan-out, time
	$(PY) -m bench.run --tier growth --brokers pybroker --repeat 3 --output bench/results/growth.json $(ARGS)
	$(PY) -m bench.verdict bench/results/growth.json --strict

bench-admin: $(VENV)/.core-release $(COMPILED) $(LOAD) ## measure messages while operators list, export and log in
	$(PY) -m bench.admin --output bench/results/admin.json $(ARGS)

bench-access: $(VENV)/.core-release $(COMPILED) $(LOAD) ## measure messages while 100,000 access rules are imported
	$(PY) -m bench.access --output bench/results/access.json $(ARGS)

bench-tenants: $(VENV)/.core-release $(COMPILED) $(LOAD) ## measure what a namespace adds to a message, and what tenants cost each other
	$(PY) -m bench.paired namespaced --scenarios fanin-qos0 pairs-qos0 fanout-100-qos0 \
	    --output bench/results/namespaced.json
	$(PY) -m bench.tenants --output bench/results/tenants.json

bench-micro: | toolchain ## time parts of the core
	cargo bench $(LOCKED) -p pybroker-micro $(ARGS)

bench-smoke: build ## check in a minute that the benchmarks work, with quick builds: the figures mean nothing
	@cargo build --quiet $(LOCKED) -p pybroker-load
	$(PY) -m bench.run --tier smoke --brokers pybroker,relay --repeat 1 --seconds 0.5 --warmup 0.2 \
	    --load target/debug/pybroker-load --output build/bench-smoke/table.json $(ARGS)
	$(PY) -m bench.paired itself access-rules mounted namespaced --scenarios fanin-qos0 --repeat 1 --seconds 0.2 \
	    --load target/debug/pybroker-load --output build/bench-smoke/features.json
	$(PY) -m bench.report --results build/bench-smoke --root build/bench-smoke

docs: build ## generate the reference pages, and tables and charts from bench/results
	$(PY) -m pybroker.config.reference
	$(PY) -m tests.support.spec_report
	$(PY) -m bench.report

# Packages.

dist: $(TOOLS) ## sdist, and the wheel built from that sdist, into dist/
	@rm -rf dist build/sdist && mkdir -p build/sdist
	@$(PY) -c 'import sys; sys.path.insert(0, "build_backend"); import backend; backend.build_sdist("dist")'
	@tar --touch -xzf dist/*.tar.gz -C build/sdist --strip-components 1
	CARGO_TARGET_DIR=$(CURDIR)/target $(PY) -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist build/sdist

install-check: dist ## install the wheel into an empty environment and ask it for its version
	@rm -rf build/empty
	@$(PYTHON) -m venv build/empty
	@build/empty/bin/python -m pip install --quiet dist/*.whl
	build/empty/bin/pybroker version

constraints: $(MADE) ## pin the versions that an unpinned installation chooses now
	@rm -rf build/pins
	@$(PYTHON) -m venv build/pins
	@build/pins/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@build/pins/bin/python -m pip install --quiet --group dev \
	    $$($(PY) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"])')
	@{ echo '# Made by `make constraints`: the versions that development and CI use.'; \
	    build/pins/bin/python -m pip freeze --all --exclude pip; } > constraints.txt

# What the end-to-end tests need beside Python. A test whose program is missing is reported as skipped.

programs:
	@missing=(); for entry in $(PROGRAMS); do command -v "$${entry%%:*}" > /dev/null || missing+=("$${entry##*:}"); done; \
	if (( $${#missing[@]} )); then \
	    if [[ $$(id -u) == 0 ]] && command -v apt-get > /dev/null; then \
	        echo "installing $${missing[*]}"; \
	        mkdir -p build; export DEBIAN_FRONTEND=noninteractive; \
	        { apt-get update && apt-get install --yes --no-install-recommends "$${missing[@]}"; } > build/apt-get.txt 2>&1 \
	            || echo "apt-get could not install $${missing[*]} (see build/apt-get.txt): their tests are not run"; \
	    else \
	        echo "tests that need these packages are not run: $${missing[*]}"; \
	    fi; \
	fi

node: | programs
	@if command -v npm > /dev/null; then $(MAKE) --silent $(NODE); else echo 'tests that need npm packages are not run'; fi

$(NODE): tests/e2e/package.json tests/e2e/package-lock.json
	@echo 'installing the npm packages of the end-to-end tests'
	@npm ci --silent --prefix tests/e2e
	@touch $@

clean: ## remove everything that was built
	rm -rf $(VENV) target build dist tests/e2e/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find pybroker admin tests -name '*.so' -delete -o -name __pycache__ -prune -exec rm -rf {} +
