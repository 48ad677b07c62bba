# shimward's build. `make help` lists the targets.

PREFIX  ?= /usr/local
DESTDIR ?=
KERNEL  ?= 6.1
IMAGE   ?= localhost/shimward/shimward:$(shell sed -n 's/^appVersion: "\(.*\)"/\1/p' deploy/helm/shimward/Chart.yaml)
GO      ?= go

# The version is the tag that is checked out, or the commit.
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STATIC  := -trimpath -tags netgo,osusergo,static_build \
	-ldflags '-s -w -linkmode external -extldflags -static -X main.stamped=$(VERSION)'
FUZZTIME ?= 30s
SCRIPTS := $(wildcard scripts/*) .ci/run

.PHONY: help
help: ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: deps-build ## build the static binaries, in bin/
	CGO_ENABLED=1 $(GO) build $(STATIC) -o bin/ ./cmd/containerd-shim-shimward-v1 ./cmd/shimward
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/ ./cmd/shimward-hook

.PHONY: install
install: ## install the binaries and a config under DESTDIR/PREFIX (run `make build` first)
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/bin bin/containerd-shim-shimward-v1 bin/shimward bin/shimward-hook
	ln -sf shimward $(DESTDIR)$(PREFIX)/bin/shimward-runc
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/shimward config.toml.example

.PHONY: generate
generate: deps-test ## generate the eBPF objects and their Go types from C (they are committed)
	$(GO) generate ./...

.PHONY: image
image: build ## build the image that deploy/ runs, as an OCI layout in build/image.tar (IMAGE=registry/name:tag)
	mkdir -p build
	cd integration && $(GO) run ./cmd/image -bin ../bin -o ../build/image.tar -name $(IMAGE)

.PHONY: manifests
manifests: ## generate the plain manifests in deploy/ from the chart
	scripts/manifests

.PHONY: lint
lint: deps-test ## run every linter, and check that generated files are up to date
	scripts/lint

.PHONY: test
test: deps-test build ## run everything: linters, unit tests, and real containerd here and on other kernels
	scripts/test all

.PHONY: test-unit
test-unit: deps-test ## run the packages' own tests, on this machine's kernel
	scripts/test unit

.PHONY: test-integration
test-integration: deps-test build ## test with real containerd and runc, on this machine's kernel
	scripts/test integration

.PHONY: test-vm
test-vm: deps-test build ## run the tests that need a kernel with BPF LSM, in a VM (KERNEL=6.1)
	scripts/test vm $(KERNEL)

.PHONY: test-arm64
test-arm64: deps-arm64 build ## run the kernel-dependent tests on arm64 kernels in VMs: slow, and not part of make test
	scripts/test arm64

.PHONY: test-compat
test-compat: deps-test build ## test containerd 1.7, 2.2 and 2.4 with one shim, and CRI-O, on this machine's kernel
	scripts/test compat

.PHONY: e2e
e2e: deps-demo build ## build Kubernetes from source, start it, test it story by story, and stop it (CONTAINERD=1.7)
	scripts/e2e $(if $(CONTAINERD),-c $(CONTAINERD))

.PHONY: e2e-vm
e2e-vm: deps-demo deps-vm build ## the same in a VM, on a kernel with BPF LSM (KERNEL=6.12)
	scripts/e2e -k $(KERNEL) $(if $(CONTAINERD),-c $(CONTAINERD))

.PHONY: stories
stories: ## write the table of stories in docs/operations.md from the results of the last make e2e
	cd integration && $(GO) run ./cmd/stories write ../docs/operations.md ../build/e2e/stories-*.json

.PHONY: peers
peers: deps-peers build ## run the peers' own tests under stock runc and under shimward, and write docs/peers.md
	scripts/peers

.PHONY: demo
demo: deps-demo build ## attack a container under stock runc, then audit, then enforce; on this kernel
	scripts/demo

.PHONY: demo-vm
demo-vm: deps-vm build ## the same on a kernel with BPF LSM (KERNEL=6.1)
	scripts/demo --vm $(KERNEL)

.PHONY: bench
bench: deps-demo build ## measure what shimward costs, side by side with stock runc
	scripts/bench

.PHONY: benchmarks
benchmarks: deps-demo build ## write docs/benchmarks.md from such a run (a quarter of an hour, on an otherwise idle machine)
	scripts/bench -page docs/benchmarks.md

.PHONY: coverage
coverage: ## write docs/coverage.md from the results of the last make test
	cd integration && go run ./cmd/coverage write ../docs/coverage.md ../build/test/*integration.json

.PHONY: fuzz
fuzz: ## search for input that breaks a parser: make fuzz FUZZTIME=5m
	FUZZTIME=$(FUZZTIME) scripts/fuzz

.PHONY: races
races: deps-demo build ## run 10,000 rounds of each race against a decision, and a flood of a million, on this kernel
	cd integration && SHIMWARD_BIN=$(CURDIR)/bin SHIMWARD_ENGINES=$$(../scripts/build-tools engines) $(GO) test -count=1 -v -timeout 60m -run 'TestRaces|TestFlood' .

.PHONY: vm
vm: deps-vm ## run a command on another kernel: make vm CMD='uname -a' KERNEL=6.12
	@scripts/vm -k $(KERNEL) bash -c "$${CMD:?say what to run: make vm CMD=...}"

.PHONY: cross
cross: ## check that everything compiles for arm64
	scripts/cross

.PHONY: clean
clean: ## remove what the build made here; the cache outside the checkout stays
	rm -rf bin build

.PHONY: deps-build deps-demo deps-vm deps-test deps-arm64 deps-peers
deps-build deps-demo deps-vm deps-test deps-arm64 deps-peers: deps-%:
	@scripts/install-deps $*
