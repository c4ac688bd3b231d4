# hookgate. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Real webhook payloads that the tests send (e2e/github_test.go), the packages with which senders sign theirs
# (e2e/testdata/sign.mjs), and what looks at the pages of the dashboard (e2e/browser_test.go).
NPM := @octokit/webhooks-examples@7.6.1 @octokit/webhooks-methods@6.0.0 standardwebhooks@1.1.1 svix@1.99.1 stripe@23.1.0 twilio@6.2.0 \
  @sendgrid/eventwebhook@8.0.0 axe-core@4.14.1
EXAMPLES := .cache/npm/installed
# Checks the alert rules; see e2e/deploy_test.go. It is taken out of Debian's package (19 MB), which installed would bring
# and start a Prometheus.
PROMTOOL := .cache/promtool/promtool
APT := $(if $(filter 0,$(shell id -u)),,sudo )env DEBIAN_FRONTEND=noninteractive apt-get

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | column -t -s "$$(printf '\t')"

.PHONY: build
build: ## Build bin/hookgate
	$(BUILD) go build -o bin/hookgate ./cmd/hookgate

# How the program, vet, staticcheck and the tests of its process are built: alike, so that each dependency is compiled once.
BUILD := GOFLAGS="$$(go env GOFLAGS) -trimpath" CGO_ENABLED=0
# The race detector needs cgo, and so a second compilation of everything.
RACE := GOFLAGS="$$(go env GOFLAGS) -trimpath" CGO_ENABLED=1
# SQLite is generated code, five times slower with a race detector in it; make soak has it there too.
SQLITE := -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc=-race=false
# It ends only what hangs: a package takes four minutes at most.
LIMIT := 30m
# These start whole gates and take several times as long with the race detector; make soak has it there too.
PLAIN := ./certify ./evidence ./bench

.PHONY: test
test: tools $(EXAMPLES) check ## Install what the tests need and run everything: format, vet, staticcheck, tests, those of packages with the race detector
	@$(RACE) go test -race $(SQLITE) -vet=off -count=1 -timeout $(LIMIT) $$(go list ./... | grep -Ev '/(certify|evidence|bench)$$') & race=$$!; \
	  failed=0; \
	  $(BUILD) go test -vet=off -count=1 -p 1 -timeout $(LIMIT) $(PLAIN) || failed=1; \
	  (cd e2e && $(BUILD) go test -vet=off -count=1 -timeout $(LIMIT) ./...) || failed=1; \
	  (cd deploy/check && $(BUILD) go test -vet=off -count=1 -timeout $(LIMIT) ./...) || failed=1; \
	  wait $$race || failed=1; \
	  exit $$failed

.PHONY: soak
soak: tools $(EXAMPLES) ## The long form of the model and chaos tests, all with the race detector, the program too (hours)
	HOOKGATE_SOAK=1 $(RACE) go test -race -count=1 -timeout 6h ./...
	cd e2e && HOOKGATE_SOAK=1 $(RACE) go test -race -count=1 -timeout 6h ./...

.PHONY: check
check: ## Check format, vet, staticcheck, modules and English
	@unformatted="$$(gofmt -l $$(git ls-files '*.go'))"; \
	  if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(BUILD) go vet ./...
	$(BUILD) go tool staticcheck ./...
	$(BUILD) go run ./internal/prose
	go mod tidy -diff
	cd e2e && $(BUILD) go vet ./... && go mod tidy -diff && $$(cd .. && go tool -n staticcheck) ./...
	cd deploy/check && $(BUILD) go vet ./... && go mod tidy -diff

.PHONY: tools
tools: $(PROMTOOL) ## Install the Debian packages that the tests run: gcc (the race detector needs it), strace, util-linux, npm, curl, systemd, redis-server, postgresql, pgbouncer, chromium; promtool in .cache
	@missing=""; \
	for pair in gcc:build-essential strace:strace prlimit:util-linux npm:npm curl:curl systemd-analyze:systemd redis-server:redis-server pgbouncer:pgbouncer chromium:chromium; do \
	  PATH="$$PATH:/usr/sbin" command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing="$$missing postgresql"; \
	if [ -n "$$missing" ]; then $(APT) update -qq && $(APT) install -y -qq --no-install-recommends $$missing; fi

$(EXAMPLES): Makefile | tools
	npm install --silent --prefix .cache/npm --no-audit --no-fund --ignore-scripts $(NPM)
	@touch $@

$(PROMTOOL):
	mkdir -p $(@D)
	cd $(@D) && { apt-get download -qq prometheus || { $(APT) update -qq && apt-get download -qq prometheus; }; }
	dpkg-deb --fsys-tarfile $(@D)/prometheus_*.deb | tar -x -C $(@D) --strip-components=3 ./usr/bin/promtool
	rm $(@D)/prometheus_*.deb
	touch $@

# Results of all of these; git ignores them.
RESULTS := bench-results

.PHONY: bench
bench: ## Compare hookgate, embedded and with Redis and PostgreSQL, with a bare net/http server, in one run (about fifteen minutes)
	go run ./bench -json $(RESULTS)/bench.json -curves $(RESULTS)
	go run ./bench -start -json $(RESULTS)/start.json

.PHONY: bench-scale
bench-scale: ## Throughput with 10 million events against that of an empty gate (half an hour, 25 GB in TMPDIR)
	go run ./bench -scale -rounds 3 -paced 0 -json $(RESULTS)/scale.json

.PHONY: bench-cost
bench-cost: ## What each guarantee costs, by leaving it out (about ten minutes)
	go run ./bench -cost -rounds 3 -json $(RESULTS)/cost.json

.PHONY: bench-sweep
bench-sweep: ## How throughput depends on connections, bodies, keys, partitions and processes (about ten minutes)
	go run ./bench -sweep -rounds 3 -json $(RESULTS)/sweep.json

# A test binary, and a hookgate, of each revision run in turn, so that what else the machine does falls on both.
ROUNDS := 6
GOBENCH := ./admit:. ./adminapi:Ingest|Shared|Bare ./queue/redis:Append|Consume|Read ./queue/spool/spoolfile:Append|Consume|Read ./store/postgres:Apply/lineage ./store/sqlite:Apply/lineage

.PHONY: bench-compare
bench-compare: ## Compare this tree with another revision, in turn, by benchstat: make bench-compare BASE=main
	@dir="$$(mktemp -d)"; trap 'rm -rf "$$dir"' EXIT; \
	mkdir "$$dir/base"; git archive "$${BASE:?is the revision to compare with}" | tar -x -C "$$dir/base"; \
	(cd "$$dir/base" && go build -o "$$dir/hookgate" ./cmd/hookgate); \
	go run ./bench -long=false -only embedded,postgres,everysec,always -rounds $(ROUNDS) -flat-out 30000 -paced 2500 \
	  -against "$$dir/hookgate" -json $(RESULTS)/compare.json -lines $(RESULTS)/compare; \
	go tool benchstat $(RESULTS)/compare/old.txt $(RESULTS)/compare/new.txt

.PHONY: bench-compare-go
bench-compare-go: ## Compare the Go benchmarks of this tree and another revision, in turn, by benchstat: make bench-compare-go BASE=main
	@dir="$$(mktemp -d)"; trap 'rm -rf "$$dir"' EXIT; \
	mkdir "$$dir/base"; git archive "$${BASE:?is the revision to compare with}" | tar -x -C "$$dir/base"; \
	mkdir -p $(RESULTS)/compare-go; : > $(RESULTS)/compare-go/old.txt; : > $(RESULTS)/compare-go/new.txt; \
	for each in $(foreach g,$(GOBENCH),'$(g)'); do \
	  package="$${each%%:*}"; name="$${package//[.\/]/_}"; \
	  (cd "$$dir/base" && go test -c -o "$$dir/old$$name" "$$package"); go test -c -o "$$dir/new$$name" "$$package"; \
	  for round in $$(seq $(ROUNDS)); do \
	    (cd "$$dir/base/$$package" && "$$dir/old$$name" -test.run '^$$' -test.bench "$${each#*:}" -test.benchtime 0.5s) >> $(RESULTS)/compare-go/old.txt; \
	    (cd "$$package" && "$$dir/new$$name" -test.run '^$$' -test.bench "$${each#*:}" -test.benchtime 0.5s) >> "$(CURDIR)/$(RESULTS)/compare-go/new.txt"; \
	    echo "$$package: round $$round of $(ROUNDS)" >&2; \
	  done; \
	done; \
	go tool benchstat $(RESULTS)/compare-go/old.txt $(RESULTS)/compare-go/new.txt

.PHONY: bench-go
bench-go: ## Go benchmarks of the hot path
	go test -run '^$$' -bench . -benchmem ./admit ./adminapi ./queue/... ./store/... ./load

FUZZTIME := 30s
.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (30s)
	@for file in $$(git ls-files '*_test.go' | xargs grep -l '^func Fuzz'); do \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' "$$file"); do \
	    echo "== $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "./$$(dirname $$file)"; \
	  done; \
	done

.PHONY: clean
clean: ## Remove what was built or downloaded; data/ stays
	rm -rf bin .cache
