# Verbs of this repository. `make` prints them.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 10s
BENCHTIME ?= 1s
COUNT ?= 5
ROWS ?= 200000
SEED ?= 1
SEEDS ?= 20
MINUTES ?= 10
SHRINK ?= 0
RUNS ?= 1000
FACTOR ?= 72
PARALLEL ?= 2
TAKEN := 10 26 42 58
MEASURE ?= rate tenants replicas memory
COMPOSE ?= compose-test
# What works in one goroutine: the race detector finds nothing there and makes it ten times as slow.
PURE := ./test/torture/weeks ./test/repo/... ./pkg/plan ./pkg/wire ./pkg/identity ./pkg/flatten ./pkg/jsonline ./pkg/window
RUN ?= .
SHUFFLE ?= on
TIMEOUT ?= 30m
# CI's kills are others for each commit, and the same whenever it is tried again.
COMMITS := $(shell git rev-list --count HEAD 2>/dev/null || echo 1)
MODULES := proto pkg services test
TOOLS := $(CURDIR)/bin/tools
GO ?= go

.DEFAULT_GOAL := help

.PHONY: help
help: ## Print the verbs
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build every binary into bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X github.com/tapline/tapline/pkg/program.version=$(VERSION)' -o bin/ ./services/*/cmd/*

.PHONY: demo
demo: build ## Run the whole pipeline between two simulators for 30 seconds
	bin/tapline demo --for 30s

.PHONY: run
run: build ## Run the pipeline as the environment configures it
	bin/tapline run

.PHONY: init
init: ## Write .env and secrets/ for docker compose where they are missing
	@deploy/init.sh

.PHONY: up
up: init ## Build the images and collect with docker compose
	docker compose up --build --detach --wait || { docker compose logs --no-log-prefix check; exit 1; }

.PHONY: down
down: ## Stop what make up started; nothing is lost
	docker compose down

# What rapid draws is the same each time, except in the long tier.
ifneq ($(TIER),long)
quick test: export RAPID_SEED = 1
endif

.PHONY: quick
quick: ## Vet the code and run the short tests of pkg and services; cached
	$(GO) vet work
	$(GO) test -short ./pkg/... ./services/...

.PHONY: check
check: house quick ## house and quick: before each commit

.PHONY: house
house: lint generate-check tidy-check repo-test ## Check style, generated files, tidiness and the repository itself

.PHONY: repo-test
repo-test: ## Test the repository itself: imports, budgets, documents, manifests
	$(GO) test ./test/repo/...

.PHONY: test
test: ## Run all tests that need no Docker, in random order, with the race detector (but those of PURE)
	$(GO) test -vet=off -shuffle=$(SHUFFLE) -timeout $(TIMEOUT) $(PURE)
	$(GO) test -vet=off -race -shuffle=$(SHUFFLE) -timeout $(TIMEOUT) $(filter-out $(shell $(GO) list $(PURE)),$(shell $(GO) list work))

.PHONY: again
again: ## Repeat a test that failed, COUNT times: make again PKG=./pkg/plan RUN=TestX ARGS=-rapid.seed=7
	$(GO) test -race -v -count=$(if $(filter command line environment,$(origin COUNT)),$(COUNT),1) -shuffle=$(SHUFFLE) -timeout $(TIMEOUT) -run '$(RUN)' $(PKG) $(ARGS)

.PHONY: e2e
e2e: ## Run the tests of the whole pipeline in their long forms
	TIER=long $(GO) test -race -shuffle=$(SHUFFLE) -timeout 60m ./test/e2e/...

.PHONY: interop
interop: ## Ship to rsyslog and syslog-ng, out of Debian's packages in bin/interop
	test/acceptance/interop/install.sh $(CURDIR)/bin/interop
	$(GO) test -race -tags interop -count=1 -timeout 20m ./test/acceptance/interop/... ./test/bench/compare

.PHONY: compose-test
compose-test: ## Test docker-compose.yml from outside; needs a Docker engine
	$(GO) test -tags compose -count=1 -v -parallel 3 -timeout 30m ./test/acceptance/compose

.PHONY: torture
torture: ## Torture the pipeline: SEEDS (20) worlds from SEED (1) on, MINUTES (10) each
	$(GO) run ./test/torture/cmd/torture run --seed $(SEED) --seeds $(SEEDS) --length $(MINUTES)m --shrink $(SHRINK) --keep test/torture/testdata/seeds

.PHONY: torture-again
torture-again: ## Torture it with the plans and seeds that once failed
	@for plan in test/torture/testdata/*.plan; do echo "== $$plan"; $(GO) run ./test/torture/cmd/torture play $$plan || exit 1; done
	@while read -r seed length; do $(GO) run ./test/torture/cmd/torture run --seed $$seed --length $$length || exit 1; done <test/torture/testdata/seeds

.PHONY: torture-taken
torture-taken: ## Torture it while one stage after the other is taken over, MINUTES (10) each
	@for seed in $(TAKEN); do $(MAKE) torture SEED=$$seed SEEDS=1 || exit 1; done

.PHONY: soak
soak: ## Run a simulated day after a week's backfill, FACTOR (72) times as fast as it is: report and docs/soak.svg
	$(GO) run ./test/torture/cmd/torture soak --factor $(FACTOR)

.PHONY: crash-matrix
crash-matrix: ## Kill each program at each step: RUNS (1000) kills, PARALLEL (2) worlds at once
	$(GO) run ./test/torture/cmd/torture matrix --seed $(SEED) --runs $(RUNS) --parallel $(PARALLEL)

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (10s)
	@for module in $(MODULES); do (cd $$module && \
		grep -rlE '^func Fuzz' --include '*_test.go' . | while read -r file; do \
			for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9]+).*/\1/p' $$file); do \
				echo "== $$file $$target"; \
				$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$(dirname $$file) || exit 1; \
			done; \
		done) || exit 1; \
	done

.PHONY: mutants
mutants: ## Tell which of COUNT (40) wrong changes to PKG (such as pkg/quota) its tests do not notice; SEED draws others
	@$(GO) run ./test/repo/cmd/mutants -count $(if $(filter command line environment,$(origin COUNT)),$(COUNT),40) -seed $(SEED) $(PKG)

.PHONY: bench
bench: ## Run all benchmarks COUNT (5) times and print what was aimed at beside what was measured
	@$(GO) test -run '^$$' -bench . -benchtime $(BENCHTIME) -count $(COUNT) -p 1 -timeout 60m work 2>&1 | $(GO) run ./test/bench/cmd/benchtable

.PHONY: bench-compare
bench-compare: ## Send the same ROWS (200000) with Tapline, rsyslog and syslog-ng COUNT (5) times and print the ratios
	test/acceptance/interop/install.sh $(CURDIR)/bin/interop
	@$(GO) build -o bin/benchcompare ./test/bench/cmd/benchcompare && bin/benchcompare --rows $(ROWS) --runs $(COUNT)

.PHONY: scaling
scaling: build ## Measure speed, processor and memory against records, tenants, replicas (MEASURE: all): the tables of docs/sizing.md
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/natsserver ./test/torture/cmd/natsserver
	@$(GO) run ./test/bench/cmd/scaling $(MEASURE)

.PHONY: day
day: ## Simulate the first day of a collector, for docs/day.md
	@$(GO) run ./test/torture/cmd/simday >docs/day.md.new && mv docs/day.md.new docs/day.md

.PHONY: bundle
bundle: build ## Put all that a host without a network needs into bin/bundle
	@deploy/bundle.sh '$(VERSION)'

.PHONY: images-update
images-update: ## Pin the images of deploy/images.env by digest wherever they are used (asks registries)
	@$(GO) run ./test/repo/cmd/images update

.PHONY: docs
docs: ## Make the tables of docs/configuration.md, operations.md and security.md anew from the code
	@$(GO) run ./test/repo/cmd/writedocs

.PHONY: rules
rules: ## Check and test the rules of Prometheus and the queries of the dashboard (needs promtool)
	promtool check config deploy/prometheus/prometheus.yml
	promtool check rules --lint=all deploy/prometheus/alerts.yml
	promtool test rules deploy/prometheus/alerts_test.yml
	@mkdir -p bin && $(GO) run ./test/repo/cmd/dashboardrules >bin/dashboardrules.yml
	promtool check rules bin/dashboardrules.yml

.PHONY: lint
lint: tools ## Check style, import rules and the contract
	@for module in $(MODULES); do (cd $$module && $(TOOLS)/golangci-lint run ./...) || exit 1; done
	cd pkg && $(TOOLS)/golangci-lint run --build-tags torture ./step/...
	cd proto && $(TOOLS)/buf lint

.PHONY: fmt
fmt: tools ## Format all code
	@for module in $(MODULES); do (cd $$module && $(TOOLS)/golangci-lint fmt ./...) || exit 1; done
	cd proto && $(TOOLS)/buf format -w

.PHONY: generate
generate: tools ## Generate code from the contract
	cd proto && $(TOOLS)/buf generate
	$(GO) run ./services/tapctl/cmd/tapctl users >deploy/nats/users.conf

.PHONY: generate-check
generate-check: generate ## Fail if generated code is not what is committed
	@git diff --exit-code -- proto/gen deploy/nats && test -z "$$(git status --porcelain -- proto/gen)"

.PHONY: tidy
tidy: ## Tidy every module
	@for module in $(MODULES) tools; do (cd $$module && GOWORK=off $(GO) mod tidy) || exit 1; done

.PHONY: tidy-check
tidy-check: ## Fail if a module is not tidy
	@for module in $(MODULES); do (cd $$module && GOWORK=off $(GO) mod tidy -diff) || exit 1; done

.PHONY: vuln
vuln: tools ## Look for known vulnerabilities: asks vuln.go.dev, or reads the database in DB=dir
	@if [ -n '$(DB)' ] && ! [ -s '$(DB)/index/modules.json' -a -s '$(DB)/index/db.json' ]; then \
		echo 'vuln: DB=$(DB) is no vulnerability database: want index/db.json, index/modules.json and ID/*.json, see docs/security.md' >&2; exit 2; fi
	@if [ -n '$(DB)' ]; then echo "vulnerabilities as known at: $$(cat '$(DB)/index/db.json')"; fi
	@for module in $(MODULES); do (cd $$module && GOWORK=off $(TOOLS)/govulncheck $(if $(DB),-db 'file://$(abspath $(DB))') ./...) || exit 1; done

.PHONY: licenses
licenses: ## Check that every module that is linked in has a known, permissive licence
	@$(GO) run ./test/repo/cmd/licenses

.PHONY: certs
certs: build ## Make certificates for a rehearsal with devosink, in certs/
	bin/devosink certs --dir certs

.PHONY: tools
tools: $(TOOLS)/.stamp ## Install the pinned developer tools into bin/tools

$(TOOLS)/.stamp: tools/go.mod tools/go.sum
	cd tools && GOWORK=off GOBIN=$(TOOLS) $(GO) install tool
	@touch $@

.PHONY: acceptance
acceptance: rules build interop $(COMPOSE) ## Test what is shipped from outside: programs, sinks of others, containers (Docker), a short torture
	$(MAKE) torture SEED=2 SEEDS=1 MINUTES=0.4
	$(MAKE) crash-matrix RUNS=15 PARALLEL=3 SEED=$$((15 * $(COMMITS)))

.PHONY: nightly
nightly: ## What takes hours: all tests in their long forms, torture, the crash matrix, fuzzing, benchmarks
	TIER=long $(MAKE) test TIMEOUT=3h
	$(MAKE) torture
	$(MAKE) torture-taken
	$(MAKE) crash-matrix
	$(MAKE) fuzz FUZZTIME=1m
	$(MAKE) bench
