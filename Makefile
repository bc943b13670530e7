# SPDX-License-Identifier: Apache-2.0
PREFIX ?= /usr/local
DESTDIR ?=
SWIFT ?= swift
RELEASE = $(SWIFT) build -c release --static-swift-stdlib
BIN = .build/release
# Only what needs it is run as root.
SUDO = $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: all install uninstall test gate demo measure clean check-swift

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

test: check-swift
	@ci/install-packages build test
	@ci/fetch-guest-kernel
	$(SWIFT) build --build-tests
	$(SWIFT) test --skip-build

gate: check-swift
	@ci/install-packages gate
	@$(SWIFT) package resolve
	@ci/darwin-gate

demo: check-swift
	@ci/install-packages build demo
	@ci/fetch-guest-kernel
	$(RELEASE) --product vde_vmnet
	$(RELEASE) --product vde_vmnet_demo
	@$(SUDO) $(BIN)/vde_vmnet_demo

measure: check-swift
	@ci/install-packages build demo
	$(RELEASE) --product vde_vmnet
	$(RELEASE) --product vde_vmnet_measure
	@$(SUDO) $(BIN)/vde_vmnet_measure

clean:
	rm -rf .build .cache

check-swift:
	@command -v $(firstword $(SWIFT)) >/dev/null || { \
	  echo "Swift is missing. Install Swift 6.2 or later from https://www.swift.org/install/linux/ and type the same again."; exit 1; }
