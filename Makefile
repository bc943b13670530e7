# SPDX-License-Identifier: Apache-2.0
PREFIX ?= /usr/local
DESTDIR ?=
SWIFT ?= swift
# The object names the commit for `vde_vmnet version`.
COMMIT = .build/commit.o
RELEASE = $(SWIFT) build -c release --static-swift-stdlib -Xlinker '$(CURDIR)/$(COMMIT)'
# SwiftPM leaves directories in TMPDIR at every call: those of the tests go with `make clean`.
TEST_SWIFT = mkdir -p .build/tmp && TMPDIR='$(CURDIR)/.build/tmp' $(SWIFT)
BIN = .build/release
# A user's PATH often lacks the directories of dnsmasq, ip and nft.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin
# Only what needs it is run as root.
SUDO = $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: all install uninstall sign install-macos install-compat uninstall-compat test prove format lint gate coverage
.PHONY: demo demo-mac
.PHONY: bench bench-quick bench-tools clean check-swift
.PHONY: reference install-units deb prove-deb prove-frames dist dist-twice commit check-places

all: check-swift commit
	$(RELEASE) --product vde_vmnet
	@$(MAKE) reference

# ---- Manual pages, completions, installation and the Debian package ----

SYSTEM := $(shell uname -s)
# Dates of pages and packages: of the commit, if nothing else is given (reproducible-builds.org); now without one.
SOURCE_DATE_EPOCH ?= $(shell ci/build-commit --time | grep -vx 0 || date +%s)
export SOURCE_DATE_EPOCH
REFERENCE = .build/reference
SHARE = $(DESTDIR)$(PREFIX)/share
DOCDIR ?= $(PREFIX)/share/doc/vde_vmnet
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
UNITDIR ?= $(PREFIX)/lib/systemd/system
# Not empty if PREFIX is the user's home directory or lies in it. HOME may be unset, or end in /.
OWN_HOME := $(patsubst %/,%,$(HOME))
IS_OWN = $(if $(OWN_HOME),$(filter $(OWN_HOME) $(OWN_HOME)/%,$(PREFIX)))
# systemd looks for a user's own units below ~/.local/share.
USERUNITDIR ?= $(if $(IS_OWN),$(OWN_HOME)/.local/share,$(PREFIX)/lib)/systemd/user
COMPATPREFIX ?= /opt/socket_vmnet
DIST ?= dist
# Recipes name these paths without quotes: check-places refuses those that would not stay whole.
PLACES = PREFIX DESTDIR DOCDIR ZSHDIR UNITDIR USERUNITDIR COMPATPREFIX DIST
$(foreach place,$(PLACES),$(eval check-places: export PLACE_$(place) = $$($(place))))
check-places:
	@ci/check-places $(PLACES)

# README and what it and docs/ lead to, so that the links of the installed documents lead somewhere.
DOCUMENTS = README.md ARCHITECTURE.md CONTRIBUTING.md CHANGELOG.md docs examples
# Their files, one a line. Not those that an editor left between them, where Git lists the files.
LIST_DOCUMENTS = { git ls-files -- $(DOCUMENTS) 2>/dev/null | grep . || find $(DOCUMENTS) -type f; } | \
  while read -r file; do [ ! -f "$$file" ] || echo "$$file"; done

# Manual pages and completions, from what the program itself prints about its options.
PROGRAM ?= $(BIN)/vde_vmnet
reference: check-swift commit
	$(RELEASE) --product command_reference
	@rm -rf $(REFERENCE) && mkdir -p $(REFERENCE)
	$(PROGRAM) --experimental-dump-help | $(BIN)/command_reference packaging/man \
	  "$$(date -u -d @$(SOURCE_DATE_EPOCH) +%F 2>/dev/null || date -u -r $(SOURCE_DATE_EPOCH) +%F)" $(REFERENCE)

# Of the directory for the program, or of the nearest one above it that exists.
CHECK_WRITABLE = place=$(DESTDIR)$(PREFIX)/bin; \
  while [ ! -e "$$place" ]; do place=$$(dirname "$$place"); done; \
  [ -w "$$place" ] || { echo "make: this user may not write to $$place. Nothing was changed." \
  "Use sudo, or a place of yours: PREFIX=\$$HOME/.local" >&2; exit 1; }

# A program is moved over the one that is there: into a directory, it would be moved without a word.
CHECK_NO_DIRECTORY = [ ! -d $(1) ] || { echo "make: $(1) is a directory, where the program belongs. Nothing was" \
  "changed. Move it away, and type this again." >&2; exit 1; }

# Installs the template $(1) as $(2). A link in its place is replaced, not followed: that of a masked unit leads to
# /dev/null.
INSTALL_TEMPLATE = work=$$(mktemp) && { sed 's|@PREFIX@|$(PREFIX)|g' '$(1)' >"$$work" && \
  install -T -m 644 "$$work" '$(2)'; status=$$?; rm -f "$$work"; exit $$status; }

# Installs what `make` has built: typed with sudo, this must not build as root. The program is put in place in one step,
# so that a full disk does not damage the one that is there.
install: check-places
	@[ -x $(BIN)/vde_vmnet ] && [ -d $(REFERENCE)/man ] || { echo "Nothing is built yet. Type: make"; exit 1; }
	@$(CHECK_WRITABLE)
	@$(call CHECK_NO_DIRECTORY,$(DESTDIR)$(PREFIX)/bin/vde_vmnet)
	install -d $(DESTDIR)$(PREFIX)/bin $(SHARE)/man/man1 $(SHARE)/man/man7 $(SHARE)/bash-completion/completions \
	  $(DESTDIR)$(ZSHDIR) $(SHARE)/fish/vendor_completions.d $(DESTDIR)$(DOCDIR)
	install -m 755 -s $(BIN)/vde_vmnet $(DESTDIR)$(PREFIX)/bin/vde_vmnet.new && \
	  mv -f $(DESTDIR)$(PREFIX)/bin/vde_vmnet.new $(DESTDIR)$(PREFIX)/bin/vde_vmnet || \
	  { rm -f $(DESTDIR)$(PREFIX)/bin/vde_vmnet.new; echo "No program was replaced."; exit 1; }
	install -m 644 $(REFERENCE)/man/*.1 $(SHARE)/man/man1
	install -m 644 $(REFERENCE)/man/*.7 $(SHARE)/man/man7
	install -m 644 $(REFERENCE)/bash/vde_vmnet $(SHARE)/bash-completion/completions/vde_vmnet
	install -m 644 $(REFERENCE)/zsh/_vde_vmnet $(DESTDIR)$(ZSHDIR)/_vde_vmnet
	install -m 644 $(REFERENCE)/fish/vde_vmnet.fish $(SHARE)/fish/vendor_completions.d/vde_vmnet.fish
	install -m 644 LICENSE $(DESTDIR)$(DOCDIR)
	@$(LIST_DOCUMENTS) | while read -r file; do \
	  mode=644; [ ! -x "$$file" ] || mode=755; \
	  install -d "$(DESTDIR)$(DOCDIR)/$$(dirname "$$file")" && \
	  install -m $$mode "$$file" "$(DESTDIR)$(DOCDIR)/$$file" || exit 1; done
	@[ $(SYSTEM) != Linux ] || $(MAKE) --no-print-directory install-units
	@echo "Installed: $(DESTDIR)$(PREFIX)/bin/vde_vmnet, and man vde_vmnet. A network starts with:" \
	  "$(if $(IS_OWN),$(PREFIX)/bin/vde_vmnet,sudo vde_vmnet) --switch /tmp/vde"

# A system's units, and examples for them and for sudo, make sense below a prefix of root only.
install-units: check-places
	install -d $(DESTDIR)$(USERUNITDIR)
	$(call INSTALL_TEMPLATE,packaging/systemd/user/vde_vmnet@.service.in,$(DESTDIR)$(USERUNITDIR)/vde_vmnet@.service)
	install -m 644 'packaging/systemd/user/vde_vmnet@.socket' $(DESTDIR)$(USERUNITDIR)
ifeq ($(IS_OWN),)
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(PREFIX)/lib/tmpfiles.d
	$(call INSTALL_TEMPLATE,packaging/systemd/system/vde_vmnet@.service.in,$(DESTDIR)$(UNITDIR)/vde_vmnet@.service)
	install -m 644 'packaging/systemd/system/vde_vmnet@.socket' $(DESTDIR)$(UNITDIR)
	install -m 644 packaging/systemd/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/vde_vmnet.conf
	install -m 644 packaging/systemd/tmpfiles.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/vde_vmnet.conf
	install -d $(DESTDIR)$(DOCDIR)/examples
	install -m 644 packaging/linux/lab.conf $(DESTDIR)$(DOCDIR)/examples/lab.conf
	$(call INSTALL_TEMPLATE,packaging/linux/sudoers.in,$(DESTDIR)$(DOCDIR)/examples/sudoers)
endif

# Of the documents, what `make install` has made. Directories that have other files stay.
uninstall: check-places
	@[ ! -e $(DESTDIR)$(PREFIX)/bin/vde_vmnet ] || { $(CHECK_WRITABLE); }
	rm -f $(DESTDIR)$(PREFIX)/bin/vde_vmnet $(DESTDIR)$(PREFIX)/bin/vde_vmnet.new \
	  $(SHARE)/man/man1/vde_vmnet.1 $(SHARE)/man/man1/vde_vmnet-*.1 \
	  $(SHARE)/man/man7/vde_vmnet-*.7 $(SHARE)/bash-completion/completions/vde_vmnet $(DESTDIR)$(ZSHDIR)/_vde_vmnet \
	  $(SHARE)/fish/vendor_completions.d/vde_vmnet.fish $(DESTDIR)$(PREFIX)/lib/sysusers.d/vde_vmnet.conf \
	  $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/vde_vmnet.conf
	rm -f '$(DESTDIR)$(UNITDIR)/vde_vmnet@.service' '$(DESTDIR)$(UNITDIR)/vde_vmnet@.socket' \
	  '$(DESTDIR)$(USERUNITDIR)/vde_vmnet@.service' '$(DESTDIR)$(USERUNITDIR)/vde_vmnet@.socket'
	cd $(DESTDIR)$(DOCDIR) 2>/dev/null && rm -f LICENSE BUILD examples/lab.conf examples/sudoers || :
	@$(LIST_DOCUMENTS) | while read -r file; do rm -f "$(DESTDIR)$(DOCDIR)/$$file" || exit 1; done
	@{ find $(DOCUMENTS) -depth -type d; echo; } | while read -r folder; do \
	  rmdir "$(DESTDIR)$(DOCDIR)/$$folder/" 2>/dev/null || :; done

# The Debian package vde-vmnet, in .build/deb, with the program of `make dist`; the same bytes for the same input.
DEB_REVISION ?= 1
DEB_MAINTAINER ?= vde_vmnet maintainers <maintainers@users.noreply.github.com>
deb: check-places check-swift
	@ci/install-packages build dist package
	@SWIFT='$(SWIFT)' ci/release-build .build/dist/out
	@$(MAKE) --no-print-directory reference PROGRAM=.build/dist/out/vde_vmnet
	@DEB_REVISION='$(DEB_REVISION)' DEB_MAINTAINER='$(DEB_MAINTAINER)' packaging/debian/build .build/deb

# The package's life in a clean Debian: installed, used, upgraded, removed and purged.
prove-deb: deb
	@ci/install-packages prove
	@ci/debian-root .cache/debian
	@DEB_REVISION=2 DEB_MAINTAINER='$(DEB_MAINTAINER)' packaging/debian/build .build/deb
	$(TEST_SWIFT) build --build-tests
	export VDE_VMNET_DEBIAN='$(CURDIR)/.cache/debian' VDE_VMNET_PACKAGES='$(CURDIR)/.build/deb' && \
	  $(TEST_SWIFT) test --skip-build --filter PackageLife

# macOS 26 and later: with this signature no root is needed. Signed aside and put in place in one step, because a
# running program must not change.
sign:
	@[ -x $(BIN)/vde_vmnet ] || { echo "Nothing is built yet. Type: make"; exit 1; }
	cp $(BIN)/vde_vmnet $(BIN)/vde_vmnet.signed
	codesign --force --sign - --entitlements packaging/vde_vmnet.entitlements $(BIN)/vde_vmnet.signed
	mv -f $(BIN)/vde_vmnet.signed $(BIN)/vde_vmnet

# As install.sh installs a release: files of root in /opt/vde_vmnet, signed on macOS 26 and later.
install-macos: check-places
	@[ -x $(BIN)/vde_vmnet ] || { echo "Nothing is built yet. Type: make"; exit 1; }
	@work=$$(mktemp -d) && trap 'rm -rf "$$work"' EXIT && \
	  archive=$$(ci/macos-archive $(BIN)/vde_vmnet "$$($(BIN)/vde_vmnet --version)" "$$work") && \
	  DESTDIR=$(DESTDIR) sh packaging/macos/install.sh --archive "$$archive"

COMPAT_NAMES = socket_vmnet socket_vmnet_client
# Under the names by which Lima, Colima and others start socket_vmnet: docs/lima.md. Lima refuses a path with a symbolic
# link in it, or one that other users may write to: so these are files of root.
install-compat: check-places
	@[ -x $(BIN)/vde_vmnet ] || { echo "Nothing is built yet. Type: make"; exit 1; }
	@$(foreach name,$(COMPAT_NAMES),$(call CHECK_NO_DIRECTORY,$(DESTDIR)$(COMPATPREFIX)/bin/$(name));)
	install -d -m 755 $(DESTDIR)$(COMPATPREFIX) $(DESTDIR)$(COMPATPREFIX)/bin
	for name in $(COMPAT_NAMES); do \
	  install -m 755 $(BIN)/vde_vmnet $(DESTDIR)$(COMPATPREFIX)/bin/$$name.new && \
	  mv -f $(DESTDIR)$(COMPATPREFIX)/bin/$$name.new $(DESTDIR)$(COMPATPREFIX)/bin/$$name || exit 1; done

uninstall-compat: check-places
	rm -f $(foreach name,$(COMPAT_NAMES),$(DESTDIR)$(COMPATPREFIX)/bin/$(name) $(DESTDIR)$(COMPATPREFIX)/bin/$(name).new)
	@rmdir $(DESTDIR)$(COMPATPREFIX)/bin $(DESTDIR)$(COMPATPREFIX) 2>/dev/null || :

# The tests of the targets, then the integration tests, several suites at once.
RUN_TESTS = $(TEST_SWIFT) test --skip-build --skip IntegrationTests && \
  TMPDIR='$(CURDIR)/.build/tmp' ci/integration-tests
test: check-swift
	@ci/install-packages build test
	@ci/fetch-guest-kernel
	$(TEST_SWIFT) build --build-tests
	@ci/host-state >.build/host-state
	$(RUN_TESTS)
	@ci/host-state .build/host-state

# Long proofs: every test that draws random input does so ROUNDS times as often. Not part of CI.
ROUNDS ?= 25
prove: check-swift
	@ci/install-packages build test
	@ci/fetch-guest-kernel
	$(TEST_SWIFT) build --build-tests
	@ci/host-state >.build/host-state
	export VDE_VMNET_ROUNDS=$(ROUNDS) && $(RUN_TESTS)
	@$(MAKE) prove-frames
	@$(MAKE) prove-deb
	@ci/host-state .build/host-state

# Damaged frames for the user-mode NAT, in a separate network namespace, where peers answer what gets through.
FUZZ_FRAMES = 100000000
prove-frames: check-swift commit
	$(RELEASE) --product vde_vmnet_bench
	$(SUDO) unshare --net $(BIN)/vde_vmnet_bench fuzz $(FUZZ_FRAMES)

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

demo: check-swift commit
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

# The archives of a release for Linux, checked: DIST/vde_vmnet-VERSION-linux-ARCH.tar.gz, its debug information, and
# SHA256SUMS. On arm64 by the same rule.
dist: check-places check-swift
	@ci/install-packages build dist
	@SWIFT='$(SWIFT)' ci/dist $(DIST)

# A program that is older than the object is linked again.
commit: check-swift
	@SWIFT='$(SWIFT)' ci/build-commit --object $(COMMIT)
	@[ ! -e $(BIN)/vde_vmnet ] || [ $(BIN)/vde_vmnet -nt $(COMMIT) ] || rm -f $(BIN)/vde_vmnet

# Builds the archives in two folders and compares their bytes. Takes two whole builds.
dist-twice: check-swift
	@ci/install-packages build dist
	@SWIFT='$(SWIFT)' ci/dist-twice

# All measurements of docs/performance.md, on this host; quick: a part of them, which changes no file.
bench bench-quick: bench-tools commit
	@ci/install-packages build demo bench
	@ci/fetch-guest-kernel
	$(RELEASE) --product vde_vmnet
	$(RELEASE) --product vde_vmnet_bench
	@$(SUDO) env BENCH_TOOLS='$(CURDIR)/.build/bench' $(BIN)/vde_vmnet_bench \
	  $(if $(filter bench-quick,$@),--quick,--output docs/performance)

bench-tools: check-swift
	@ci/install-packages build
	@mkdir -p .build/bench
	$(CC) -O2 -Wall -Wextra -o .build/bench/frames Benchmarks/tools/frames.c -ldl
	$(CC) -O2 -Wall -Wextra -o .build/bench/relay Benchmarks/tools/relay.c
	$(CC) -O2 -Wall -Wextra -static -o .build/bench/stream Benchmarks/tools/stream.c -lpthread
	$(CC) -O2 -Wall -Wextra -static -o .build/bench/datagrams Benchmarks/tools/datagrams.c

clean:
	rm -rf .build .build-coverage .cache dist

check-swift:
	@command -v $(firstword $(SWIFT)) >/dev/null || { \
	  echo "Swift is missing. Install Swift 6.2 or later from https://www.swift.org/install/linux/ and run make again."; \
	  exit 1; }
