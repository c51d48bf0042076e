# make run     everything this machine needs, the build, and the service on http://127.0.0.1:8000 with data in ./data
# make test    everything the tests need, format, lints, the build, and all tests
# make torture 2,000 drawn cuts, each proved; CASES=n for another number, SEED=n to repeat
# make build   the static release binary at dist/meme-maker
# make bench   the bench table
# make fuzz    random bytes for the readers of MP4 and H.264, ten minutes each; what breaks one is kept in fuzz/artifacts

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

MACHINE := $(shell uname -s)-$(shell uname -m)
ifeq ($(filter Linux-x86_64 Linux-aarch64,$(MACHINE)),)
$(error Meme Maker is built for Linux on x86_64 or aarch64; this machine is $(MACHINE))
endif

# The one place that names the target. Named explicitly, the static flag stays off build scripts and procedural macros.
TARGET := $(shell uname -m)-unknown-linux-gnu
STATIC := RUSTFLAGS="-C target-feature=+crt-static"
CARGO_DIR := $(or $(CARGO_TARGET_DIR),target)

.PHONY: run test torture build bench fuzz upload-test browser-test dist

run:
	@deploy/needs.sh run
	@$(MAKE) --no-print-directory dist
	@echo "Serving on http://127.0.0.1:8000 with data in ./data. Stop with Ctrl-C."
	@exec dist/meme-maker serve --bind 127.0.0.1:8000 --data-dir ./data

build:
	@deploy/needs.sh build
	@$(MAKE) --no-print-directory dist

# Installed by replacement, so that a running binary can be rebuilt, and only when it changed.
dist:
	$(STATIC) cargo build --release --locked --target $(TARGET)
	@cmp -s "$(CARGO_DIR)/$(TARGET)/release/meme-maker" dist/meme-maker || \
		install -D -m 0755 "$(CARGO_DIR)/$(TARGET)/release/meme-maker" dist/meme-maker
	@echo "The binary is dist/meme-maker ($$(stat -c %s dist/meme-maker) bytes)."

test:
	@deploy/needs.sh test
	@tests/python.sh ffmpeg imageio-ffmpeg==0.6.0 >/dev/null
	@tests/python.sh pages yt-dlp==2026.10.26 >/dev/null
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	@$(MAKE) --no-print-directory dist
	@if cargo nextest --version >/dev/null 2>&1; then \
		set -x; \
		cargo nextest run --locked; \
		cargo test --doc --locked; \
	else \
		echo "cargo-nextest is not installed; the tests run through cargo test."; \
		set -x; \
		cargo test --locked; \
	fi
	@if [ -e tests/tus/run.sh ]; then $(MAKE) --no-print-directory upload-test; fi
	@if [ -e tests/browser/run.sh ]; then $(MAKE) --no-print-directory browser-test; fi

CASES ?= 2000
SEED ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')

# Not through nextest, which ends what takes long.
torture:
	@deploy/needs.sh test
	@tests/python.sh ffmpeg imageio-ffmpeg==0.6.0 >/dev/null
	MEME_MAKER_CASES=$(CASES) MEME_MAKER_SEED=$(SEED) cargo test --locked --test it random:: -- --nocapture --test-threads 2

upload-test:
	@deploy/needs.sh node
	bash tests/tus/run.sh

browser-test:
	@deploy/needs.sh browser
	bash tests/browser/run.sh

bench:
	@deploy/needs.sh run
	@$(MAKE) --no-print-directory dist
	$(STATIC) cargo bench --locked --target $(TARGET) --bench bench

fuzz:
	@deploy/needs.sh build
	@deploy/needs.sh run
	fuzz/run.sh 600
