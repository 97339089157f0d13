# make build   the tool, and the example image in out/
# make import  an AMI of the example image, with AWS credentials from the environment
# make test    installs what the tests need, runs all of them, and says what was skipped and why;
#              with IMGASM_REQUIRE_ALL=1 a skip is a failure
# make smoke-aws   makes an AMI on a real account and takes it away again; with AWS_PROFILE and BUCKET
# make test-boot   boots a customised machine under QEMU; takes minutes
# make bench   imgasm beside what one would run instead, as ratios
# make deb     a Debian package, in target/dist/upload; needs cargo-deb
# make wheel   a Python wheel that holds the program, likewise
# make dist    both, and an archive: what a release consists of; needs cargo-cyclonedx too
# make lint    formatting, clippy, documentation, licences, advisories
# make advisories   asks RustSec's database about the crates that we use; needs cargo-deny
# make corpus  our verdicts beside the checkers' own, over the images in CORPUS
# make fuzz    checks that the fuzz targets build

CARGO ?= cargo
IMGASM := target/release/imgasm
# Who is not root asks sudo for packages and mounts.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

TEST_PACKAGES := acl attr binutils ca-certificates chromium createrepo-c db5.3-util dnf dosfstools e2fsprogs fdisk fish gdisk gpg gpg-agent mtools \
	openssl p11-kit p11-kit-modules pigz python3-venv qemu-utils rpm selinux-utils \
	selinux-policy-default shellcheck systemd unzip util-linux xfsprogs xz-utils zip zsh zstd bzip2

BOOT_PACKAGES := arch-test debootstrap mmdebstrap openssh-client ovmf qemu-efi-aarch64 qemu-system-arm qemu-system-x86 \
	qemu-user-static swtpm
BOOT_PROGRAMS := arch-test debootstrap mmdebstrap qemu-aarch64-static qemu-system-aarch64 qemu-system-x86_64 ssh swtpm

AWS_VENV := target/aws-venv
BENCH_VENV := target/bench-venv

.PHONY: all build import tool test test-tools test-aws test-aws-tools smoke-aws test-boot boot-tools \
	bench corpus pages deb wheel dist lint advisories fuzz clean

all: build

tool:
	$(CARGO) build --release --locked

build: tool
	$(IMGASM) build -f imgasm.toml -o out

test-tools:
	@missing=; for p in $(TEST_PACKAGES); do \
		dpkg-query -W -f '$${Status}\n' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
	done; \
	if [ -n "$$missing" ]; then \
		echo "installing:$$missing"; \
		$(SUDO) apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -y -qq --no-install-recommends $$missing; \
	fi

# With credentials from the environment, as AWS_PROFILE; IMPORT_ARGS for the rest.
import: build
	$(IMGASM) import -f imgasm.toml -o out $(IMPORT_ARGS)

# What talks to AWS is tested with the tool that `make build` makes, so that the SDK is compiled once.
export IMGASM_WITH_AWS := $(CURDIR)/$(IMGASM)
TESTS = $(CARGO) test --locked --no-fail-fast --no-default-features

# Tests append to it what they lack; see crates/imgasm-testkit/src/need.rs.
export IMGASM_SKIPPED := $(CURDIR)/target/skipped

test: tool test-aws-tools
	@rm -f $(IMGASM_SKIPPED); status=0; \
	set -x; $(TESTS) --workspace || status=1; set +x; \
	if [ -s $(IMGASM_SKIPPED) ]; then \
		echo "$$(cut -f 1 $(IMGASM_SKIPPED) | sort -u | wc -l) tests were skipped, whole or in part; they need:"; \
		cut -f 2 $(IMGASM_SKIPPED) | sort | uniq -c; \
	else \
		echo "no test was skipped"; \
	fi; \
	exit $$status

test-aws: tool test-aws-tools
	$(TESTS) --test it aws_

# On the account of AWS_PROFILE; asks before it makes anything, unless SMOKE_ARGS is --yes.
smoke-aws: tool $(AWS_VENV)/.complete
	@test -n "$(BUCKET)" || { echo "name a bucket of the region with BUCKET=NAME"; exit 2; }
	$(AWS_VENV)/bin/python tests/aws/smoke.py $(IMGASM) $(BUCKET) $(SMOKE_ARGS)

test-aws-tools: test-tools $(AWS_VENV)/.complete

$(AWS_VENV)/.complete: tests/aws/requirements.txt
	python3 -m venv $(AWS_VENV)
	$(AWS_VENV)/bin/pip install --quiet -r tests/aws/requirements.txt
	touch $@

# QEMU's parts must be of one version: where its tools come from backports, the machine does too.
boot-tools: test-tools
	@{ for p in $(BOOT_PROGRAMS); do command -v $$p || break; done | grep -q $(lastword $(BOOT_PROGRAMS)) && \
	ls /usr/share/OVMF /usr/share/AAVMF; } >/dev/null || { \
		echo "installing: $(BOOT_PACKAGES)"; \
		$(SUDO) apt-get install -y -qq --no-install-recommends --no-remove $(BOOT_PACKAGES) || \
		$(SUDO) apt-get install -y -qq --no-install-recommends \
			-t "$$(. /etc/os-release; echo $$VERSION_CODENAME)-backports" $(BOOT_PACKAGES); \
	}

test-boot: boot-tools
	$(CARGO) test --locked --no-default-features --test it boot:: -- --ignored --nocapture --test-threads=1

bench: tool $(BENCH_VENV)/.complete
	$(CARGO) bench --locked

# A folder of images, packed or not: that of e2fsprogs' tests, of util-linux, of one's own.
CORPUS ?= corpus
corpus:
	$(CARGO) run --locked --release -p imgasm-testkit --example corpus -- $(CORPUS)

$(BENCH_VENV)/.complete: benches/compare/requirements.txt
	python3 -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet -r benches/compare/requirements.txt
	touch $@

# What is published is optimised at link time: a quarter smaller, in more than twice the time.
deb wheel dist: export CARGO_PROFILE_RELEASE_LTO := fat

# Manual pages and completions.
DIST := target/dist
UPLOAD := $(DIST)/upload
pages: tool
	@rm -rf $(DIST)/man $(DIST)/completions && mkdir -p $(DIST)/completions $(UPLOAD)
	$(IMGASM) man --output $(DIST)/man
	@for shell in bash zsh fish; do \
		$(IMGASM) completions $$shell >$(DIST)/completions/imgasm.$$shell || exit 1; \
	done

deb: pages
	@$(CARGO) deb --version >/dev/null 2>&1 || { echo "cargo install --locked cargo-deb"; exit 2; }
	$(CARGO) deb --locked --no-build --no-strip --output $(UPLOAD)/

WHEEL_VENV := target/wheel-venv
wheel: tool
	@test -x $(WHEEL_VENV)/bin/maturin || { \
		python3 -m venv $(WHEEL_VENV) && $(WHEEL_VENV)/bin/pip install --quiet 'maturin>=1.9,<2'; \
	}
	$(WHEEL_VENV)/bin/maturin build --release --out $(UPLOAD)

VERSION := $(shell sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml)
ARCHIVE := imgasm-$(VERSION)-$(shell uname -m)-linux
dist: deb wheel
	rm -rf $(DIST)/$(ARCHIVE) && mkdir $(DIST)/$(ARCHIVE)
	cp -R $(IMGASM) $(DIST)/man $(DIST)/completions LICENSE README.md CHANGELOG.md $(DIST)/$(ARCHIVE)
	tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C $(DIST) -c $(ARCHIVE) | \
		gzip -n >$(UPLOAD)/$(ARCHIVE).tar.gz
	$(CARGO) cyclonedx --format json --override-filename imgasm-$(VERSION).cdx
	mv imgasm-$(VERSION).cdx.json $(UPLOAD)/

# With the examples, the documentation is of the same builds of all crates that clippy has looked at.
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --document-private-items --lib --examples
	@$(CARGO) metadata --manifest-path fuzz/Cargo.toml --locked --format-version 1 >/dev/null
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --offline --workspace check licenses bans sources; \
	else \
		echo "cargo-deny is not installed: licences are not checked"; \
	fi
	@$(MAKE) --no-print-directory advisories

# What is known to be wrong with the crates that we use. That nobody could be asked is said, and is no failure.
advisories:
	@if ! $(CARGO) deny --version >/dev/null 2>&1; then \
		echo "cargo-deny is not installed: advisories are not checked"; \
	elif ! $(CARGO) deny fetch db; then \
		echo "RustSec's database could not be fetched: advisories are not checked"; \
	else \
		$(CARGO) deny --offline --workspace check advisories; \
	fi

fuzz:
	$(CARGO) check --manifest-path fuzz/Cargo.toml --target-dir target --locked

clean:
	$(CARGO) clean
	rm -rf out
