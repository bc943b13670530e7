# SPDX-License-Identifier: Apache-2.0
PREFIX ?= /usr/local
DESTDIR ?=
SWIFT ?= swift
RELEASE = $(SWIFT) build -c release --static-swift-stdlib
# SwiftPM leaves directories in TMPDIR at every call: those of the tests go with `make clean`.
TEST_SWIFT = mkdir -p .build/tmp && TMPDIR=$(CURDIR)/.build/tmp $(SWIFT)
BIN = .build/release
# A user's PATH often lacks the directories of dnsmasq, ip and nft.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
# Only what needs it is run as root.
SUDO = $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: all install uninstall sign install-macos install-compat test prove format lint gate coverage demo demo-mac
.PHONY: bench bench-quick bench-tools clean check-swift

all: check-swift
	$(RELEASE) --product vde_vmnet

# Installs what `make` has built: typed with sudo, this must not build as root.
install:
	@[ -x $(BIN)/vde_vmnet ] || { echo "Nothing is built yet. Type: make"; exit 1; }
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/doc/vde_vmnet
	install -m 755 -s $(BIN)/vde_vmnet $(DESTDIR)$(PREFIX)/bin/vde_vmnet
	install -m 644 LICENSE README.md $(DESTDIR)$(PREFIX)/share/doc/vde_vmnet

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/vde_vmnet
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/vde_vmnet

# macOS 26 and later: with this signature no root is needed. Signed aside and put in place in one step, because a
# running program must not change.
sign:
	@[ -x $(BIN)/vde_vmnet ] || { echo "Nothing is built yet. Type: make"; exit 1; }
	cp $(BIN)/vde_vmnet $(BIN)/vde_vmnet.signed
	codesign --force --sign - --entitlements packaging/vde_vmnet.entitlements $(BIN)/vde_vmnet.signed
	mv -f $(BIN)/vde_vmnet.signed $(BIN)/vde_vmnet

# As install.sh installs a release: files of root in /opt/vde_vmnet, signed on macOS 26 and later.
install-macos:
	@[ -x $(BIN)/vde_vmnet ] || { echo "Nothing is built yet. Type: make"; exit 1; }
	@work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && \
	  archive=$$(ci/macos-archive $(BIN)/vde_vmnet "$$($(BIN)/vde_vmnet --version)" "$$work") && \
	  DESTDIR=$(DESTDIR) sh packaging/macos/install.sh --archive "$$archive"

# Under the names by which Lima, Colima and others start socket_vmnet: docs/lima.md. Lima refuses a path with a symbolic
# link in it, or one that other users may write to: so these are files of root.
install-compat: COMPATPREFIX = /opt/socket_vmnet
install-compat:
	@[ -x $(BIN)/vde_vmnet ] || { echo "Nothing is built yet. Type: make"; exit 1; }
	install -d -m 755 $(DESTDIR)$(COMPATPREFIX) $(DESTDIR)$(COMPATPREFIX)/bin
	for name in socket_vmnet socket_vmnet_client; do \
	  install -m 755 $(BIN)/vde_vmnet $(DESTDIR)$(COMPATPREFIX)/bin/$$name.new && \
	  mv -f $(DESTDIR)$(COMPATPREFIX)/bin/$$name.new $(DESTDIR)$(COMPATPREFIX)/bin/$$name || exit 1; done

test: check-swift
	@ci/install-packages build test
	@ci/fetch-guest-kernel
	$(TEST_SWIFT) build --build-tests
	@ci/host-state >.build/host-state
	$(TEST_SWIFT) test --skip-build
	@ci/host-state .build/host-state

# Long proofs: every test that draws random input does so ROUNDS times as often. Not part of CI.
ROUNDS ?= 25
prove: check-swift
	@ci/install-packages build test
	@ci/fetch-guest-kernel
	$(TEST_SWIFT) build --build-tests
	@ci/host-state >.build/host-state
	export VDE_VMNET_ROUNDS=$(ROUNDS) && $(TEST_SWIFT) test --skip-build
	@ci/host-state .build/host-state

# Rewrites Swift and C files by the rules of .swift-format and .clang-format.
format: check-swift
	@ci/install-packages lint
	@ci/lint --format

# The form of all files, and the source rules, which Tests/SourceRulesTests applies too.
lint: check-swift
	@ci/install-packages build lint
	@ci/lint
	@$(SWIFT) run --quiet source_rules

gate: check-swift
	@ci/install-packages gate
	@$(SWIFT) package resolve
	@ci/darwin-gate
	@ci/lint-packaging

coverage: check-swift
	@ci/install-packages build
	@ci/macos-coverage

demo: check-swift
	@ci/install-packages build demo
	@ci/fetch-guest-kernel
	$(RELEASE) --product vde_vmnet
	$(RELEASE) --product vde_vmnet_demo
	@$(BIN)/vde_vmnet_demo

# The code for macOS, on a simulated vmnet.framework.
demo-mac: check-swift
	@ci/install-packages build demo
	@ci/fetch-guest-kernel
	$(SWIFT) build -c release --product vde_vmnet_simulated
	$(SWIFT) build -c release --product vde_vmnet_demo
	@$(SUDO) $(BIN)/vde_vmnet_demo mac

# All measurements of docs/performance.md, on this host; quick: a part of them, which changes no file.
bench bench-quick: bench-tools
	@ci/install-packages build demo bench
	@ci/fetch-guest-kernel
	$(RELEASE) --product vde_vmnet
	$(RELEASE) --product vde_vmnet_bench
	@$(SUDO) env BENCH_TOOLS=$(CURDIR)/.build/bench $(BIN)/vde_vmnet_bench \
	  $(if $(filter bench-quick,$@),--quick,--output docs/performance)

bench-tools: check-swift
	@ci/install-packages build
	@mkdir -p .build/bench
	$(CC) -O2 -Wall -Wextra -o .build/bench/frames Benchmarks/tools/frames.c -ldl
	$(CC) -O2 -Wall -Wextra -o .build/bench/relay Benchmarks/tools/relay.c
	$(CC) -O2 -Wall -Wextra -static -o .build/bench/stream Benchmarks/tools/stream.c -lpthread

clean:
	rm -rf .build .build-coverage .cache

check-swift:
	@command -v $(firstword $(SWIFT)) >/dev/null || { \
	  echo "Swift is missing. Install Swift 6.2 or later from https://www.swift.org/install/linux/ and run make again."; \
	  exit 1; }
