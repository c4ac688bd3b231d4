# hookgate. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Settings of the go command. The program is built without cgo, as users build it. The race detector
# needs cgo.
PLAIN := GOFLAGS="$$(go env GOFLAGS) -trimpath" CGO_ENABLED=0
RACE := GOFLAGS="$$(go env GOFLAGS) -trimpath" CGO_ENABLED=1

# Packages that the tests read or run: real webhook payloads (e2e/github_test.go), the libraries with
# which senders sign theirs (e2e/testdata/sign.mjs), the accessibility check of the dashboard
# (e2e/browser_test.go), and the compiler with the types of Node (e2e/clients_test.go).
NPM := @octokit/webhooks-examples@7.6.1 @octokit/webhooks-methods@6.0.0 standardwebhooks@1.1.1 \
  svix@1.99.1 stripe@23.1.0 twilio@6.2.0 @sendgrid/eventwebhook@8.0.0 axe-core@4.14.1 \
  typescript@7.0.2 @types/node@24.19.4
NPM_PACKAGES := .cache/npm/installed

# promtool checks the alert rules. It is extracted from Debian's package, because installing the
# package would start a Prometheus.
PROMTOOL := .cache/promtool/promtool

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/hookgate
	$(PLAIN) go build -o bin/hookgate ./cmd/hookgate

.PHONY: clean
clean: ## Remove everything that was built or downloaded; data/ stays
	rm -rf bin .cache

# --- Tests ---

# The packages whose code or tests do things at the same time: `make test` has the race detector in
# them. It has it nowhere else, because each more package takes seconds to compile and link for it;
# `make soak` has it everywhere.
RACY := admit adminapi dashboard deliver deliver/memory deliver/pull deliver/push \
  deliver/txhandler gate guard internal/consume internal/metrics load persist queue/direct \
  queue/redis queue/spool queue/spool/spoolfile release/canary
# In the stores only some tests do. The others run without it.
STORES := ./store/postgres ./store/sqlite
AT_ONCE := TestConformance/(Concurrent|While)|TestDelivery/Plain/(Together|While)|While|$\
  ShareATransaction|TestFaults|TestServerKilled|TestFenceHolds|TestNothingMissed|TestPoolExhausted
# SQLite is C translated to Go, and five times slower with the race detector. Ciphers and hashes, among
# them the slow one of sessions, and the parsers of templates and expressions share nothing. The
# commands of Redis are a large package, generated, that compiles in half the time like this.
# `make soak` checks all.
UNRACED := $(foreach each,modernc.org/sqlite/lib modernc.org/libc modernc.org/memory \
  crypto/internal/fips140/... text/template/parse regexp/syntax,$\
  -gcflags=$(each)=-race=false) -gcflags=github.com/redis/rueidis/internal/cmds="-race=false -N -l"
# The time limit of a package. It only ends tests that hang.
LIMIT := 30m

.PHONY: test
test: tools $(NPM_PACKAGES) vet ## Install the tools of the tests, then check and test everything
	@$(MAKE) --no-print-directory --keep-going --jobs=3 test-e2e test-race lint test-plain

.PHONY: test-race
test-race: ## Test the packages with the race detector
	@$(RACE) go test -race $(UNRACED) -vet=off -count=1 -timeout $(LIMIT) $(RACY:%=./%)
	@$(RACE) go test -race $(UNRACED) -vet=off -count=1 -timeout $(LIMIT) -run '$(AT_ONCE)' $(STORES)

.PHONY: test-e2e
test-e2e: ## Test the program from outside, as users build it
	@cd e2e && $(PLAIN) go test -vet=off -count=1 -p 1 -timeout $(LIMIT) ./...

.PHONY: test-plain
test-plain: ## Test the other packages without the race detector
	@$(PLAIN) go test -vet=off -count=1 -p 2 -timeout $(LIMIT) \
	  $$(go list ./... | grep -vE '/hookgate/($(subst $() ,|,$(RACY)))$$')

.PHONY: soak
soak: tools $(NPM_PACKAGES) ## Run the long form of the tests, all with the race detector (hours)
	HOOKGATE_SOAK=1 $(RACE) go test -race -count=1 -timeout 6h ./...
	cd e2e && HOOKGATE_SOAK=1 $(RACE) go test -race -count=1 -timeout 6h ./...

.PHONY: check
check: vet lint ## Check format, vet, staticcheck, English and modules

.PHONY: vet
vet: ## Check the format and vet, which compiles everything for the other targets
	@unformatted="$$(gofmt -l $$(git ls-files '*.go'))"; \
	  if [ -n "$$unformatted" ]; then \
	    echo "not formatted, run gofmt -w on:"; echo "$$unformatted"; exit 1; \
	  fi
	$(PLAIN) go vet ./...
	cd e2e && $(PLAIN) go vet ./...

.PHONY: lint
lint: ## Check staticcheck, English and modules
	$(PLAIN) go run ./internal/prose
	$(PLAIN) go tool staticcheck ./...
	go mod tidy -diff
	staticcheck="$$($(PLAIN) go tool -n staticcheck)"; cd e2e && $(PLAIN) "$$staticcheck" ./...
	cd e2e && go mod tidy -diff

FUZZTIME := 30s
.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (30s)
	@for file in $$(git ls-files '*_test.go' | xargs grep -l '^func Fuzz'); do \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' "$$file"); do \
	    echo "== $$target"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "./$$(dirname $$file)"; \
	  done; \
	done

# --- Tools of the tests ---

# Each program that the tests run, and the Debian package that has it. The race detector needs gcc.
TOOLS := gcc:build-essential strace:strace prlimit:util-linux npm:npm curl:curl \
  systemd-analyze:systemd python3:python3 redis-server:redis-server pgbouncer:pgbouncer \
  chromium-headless-shell:chromium-headless-shell
APT := $(if $(filter 0,$(shell id -u)),,sudo )env DEBIAN_FRONTEND=noninteractive apt-get

.PHONY: tools
tools: $(PROMTOOL) ## Install the tools of the tests: Debian packages, and promtool in .cache
	@missing=""; \
	for tool in $(TOOLS); do \
	  PATH="$$PATH:/usr/sbin" command -v "$${tool%%:*}" >/dev/null || missing="$$missing $${tool##*:}"; \
	done; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgresql"; \
	if [ -n "$$missing" ]; then \
	  $(APT) update -qq && $(APT) install -y -qq --no-install-recommends $$missing; \
	fi

$(NPM_PACKAGES): Makefile | tools
	npm install --silent --prefix .cache/npm --no-audit --no-fund --ignore-scripts $(NPM)
	@touch $@

$(PROMTOOL):
	mkdir -p $(@D)
	cd $(@D) && { apt-get download -qq prometheus || \
	  { $(APT) update -qq && apt-get download -qq prometheus; }; }
	dpkg-deb --fsys-tarfile $(@D)/prometheus_*.deb | \
	  tar -x -C $(@D) --strip-components=3 ./usr/bin/promtool
	rm $(@D)/prometheus_*.deb
	touch $@

# --- Benchmarks: docs/internals/performance.md has the method and the figures ---

# The results of all of them. Git ignores the folder.
RESULTS := bench-results

.PHONY: bench
bench: ## Compare hookgate and a bare net/http server, in one run (about 25 minutes)
	go run ./bench -json $(RESULTS)/bench.json -curves $(RESULTS)
	go run ./bench -start -json $(RESULTS)/start.json
	go run ./bench -deliver -rounds 3 -json $(RESULTS)/deliver.json

.PHONY: bench-scale
bench-scale: ## Compare a gate with 10 million events and an empty one (half an hour, 25 GB in TMPDIR)
	go run ./bench -scale -rounds 3 -paced 0 -json $(RESULTS)/scale.json

.PHONY: bench-cost
bench-cost: ## Measure the cost of each guarantee by leaving it out (about 10 minutes)
	go run ./bench -cost -rounds 3 -json $(RESULTS)/cost.json

.PHONY: bench-sweep
bench-sweep: ## Vary connections, bodies, keys, partitions and processes (about 10 minutes)
	go run ./bench -sweep -rounds 3 -json $(RESULTS)/sweep.json

# Both comparisons run the two revisions in turn, so that other load on the machine affects both.
ROUNDS := 6

.PHONY: bench-compare
bench-compare: ## Compare this tree with another revision by benchstat: make bench-compare BASE=main
	bench/compare.sh "$${BASE:?is the revision to compare with}" $(ROUNDS) $(RESULTS)

GOBENCH := ./admit:. ./ingest:. \
  ./queue/redis:Append|Consume|Read ./queue/spool/spoolfile:Append|Consume|Read \
  ./store/postgres:Apply/lineage ./store/sqlite:Apply/lineage

.PHONY: bench-compare-go
bench-compare-go: ## Compare the Go benchmarks of two revisions: make bench-compare-go BASE=main
	bench/compare-go.sh "$${BASE:?is the revision to compare with}" $(ROUNDS) $(RESULTS) \
	  $(foreach each,$(GOBENCH),'$(each)')

.PHONY: bench-go
bench-go: ## Run the Go benchmarks of the hot path
	go test -run '^$$' -bench . -benchmem ./admit ./ingest ./queue/... ./store/... ./load
