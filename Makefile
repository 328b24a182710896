# Needs Debian (or anything like it), Go and make. `make` alone lists the targets.
# MYSQLD=path picks the server for test, demo, bench and soak; without it one is found, or fetched into the cache folder.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE      ?= ordinal-agent
FUZZTIME   ?= 20s
TESTFLAGS  ?=
BENCHFLAGS ?=
MINUTES    ?= 10
PLATFORMS  ?=
PUSH       ?=
SOAKFLAGS  ?=

# The limit for the binary, in bytes: it is pulled on every node that runs a Pod.
BINARY_MAX := 20000000

# Tools of the checks live in a cache folder, never in go.mod: a user of the module does not download them.
TOOLS        := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/ordinal/tools
STATICCHECK  := $(TOOLS)/staticcheck-v0.8.2
comma        := ,
STATIC_BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -buildid= -X main.version=$(VERSION)'

.PHONY: help build test check format vet lint mutations demo bench soak fuzz image clean tools test-tools

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/agent, one static binary
	$(STATIC_BUILD) -o bin/agent ./cmd/agent
	@size=$$(stat -c %s bin/agent); echo "bin/agent $(VERSION): $$size bytes"; \
	if (( size >= $(BINARY_MAX) )); then echo "bin/agent is over $(BINARY_MAX) bytes: see what grew with 'go version -m bin/agent'" >&2; exit 1; fi

# -count=1: the test cache does not notice a change to the manifests and rules, which lie outside these modules.
test: test-tools ## Run every test, real mysqld included (TESTFLAGS=-race)
	go test -p 2 -timeout 45m $(TESTFLAGS) ./...
	cd examples/kubernetes/validate && go test -count=1 $(TESTFLAGS) ./...
	cd examples/monitoring/validate && go test -count=1 $(TESTFLAGS) ./...
	cd examples/compose/validate && go test -count=1 $(TESTFLAGS) ./...
	cd internal/testing/containers && go test -count=1 -timeout 25m $(TESTFLAGS) ./...

check: format vet lint ## Check format, vet, lint and the rules of the architecture
	go test ./internal/testing/architecture

demo: build ## Start three Pods from nothing and prove what they promise (KEEP=1: leave them running)
	go run ./internal/testing/demo

bench: build ## Measure clones, backups and replays against the server's own tools, tar and cp (QUICK=1: a look; DOCS=1: into docs/benchmarks.md)
	go run ./internal/testing/bench $(if $(QUICK),-quick) $(if $(DOCS),-docs docs/benchmarks.md) $(BENCHFLAGS)

soak: ## Five Pods under load while things go wrong, for MINUTES (10); as root (SEED=n replays a plan; SOAKFLAGS)
	go run ./internal/testing/soak -minutes $(MINUTES) $(if $(SEED),-seed $(SEED)) $(SOAKFLAGS)

mutations: ## Remove each guard of the decisions in turn, and see the simulation fail
	go test ./agent -count=1 -timeout 60m -run TestSimulationFindsMutations -sim.mutations=-1 -v

fuzz: ## Fuzz every parser for FUZZTIME (20s) each
	@grep -rl --include='*_test.go' '^func Fuzz' . | sort | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do \
			echo "== $$(dirname "$$file") $$target"; \
			go test "$$(dirname "$$file")" -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME); \
		done; \
	done

# Several platforms make no image that this machine's Docker could hold: with PUSH=1 they go to the registry in IMAGE, else into one file.
image: REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
# Where the source is, if a clone says it and names nobody's account and no path.
image: SOURCE ?= $(or $(shell git remote get-url origin 2>/dev/null | grep -E '^https://[^@]*$$'),unknown)
image: ARGS = --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --build-arg SOURCE=$(SOURCE) --tag $(IMAGE):$(VERSION)
image: ## Build the container image (IMAGE=name, VERSION=tag; PLATFORMS=linux/amd64,linux/arm64 by docker buildx, PUSH=1)
ifeq ($(PLATFORMS),)
	docker build $(ARGS) .
else
	@docker buildx version >/dev/null 2>&1 || { echo "make image PLATFORMS=… needs docker buildx: https://docs.docker.com/go/buildx/ (Debian: apt-get install docker-buildx); without PLATFORMS plain docker does" >&2; exit 1; }
	@mkdir -p bin
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 0) docker buildx build --platform $(PLATFORMS) --provenance=false $(ARGS) \
		$(if $(PUSH),--output type=registry$(comma)rewrite-timestamp=true,--output type=oci$(comma)rewrite-timestamp=true$(comma)dest=bin/$(notdir $(IMAGE))-$(VERSION).oci.tar) .
endif

clean: ## Remove what the build made (fetched servers and tools stay in the cache folder)
	rm -rf bin

format:
	@files=$$(gofmt -l .); if [[ -n "$$files" ]]; then printf 'not formatted, run gofmt -w on:\n%s\n' "$$files" >&2; exit 1; fi

vet:
	go vet ./...

tools: $(STATICCHECK)

lint: tools
	$(STATICCHECK) ./...

# Built by the Go in use: staticcheck refuses code newer than the Go that built it.
$(STATICCHECK):
	@mkdir -p '$(TOOLS)/install'
	GOBIN='$(TOOLS)/install' go install honnef.co/go/tools/cmd/staticcheck@v0.8.2
	@mv '$(TOOLS)/install/staticcheck' '$@'

# Crash points are enumerated with strace: a test that cannot run must not pass.
test-tools:
	@for tool in strace; do \
		command -v $$tool >/dev/null || { echo "make test needs $$tool: apt-get install $$tool" >&2; exit 1; }; \
	done
