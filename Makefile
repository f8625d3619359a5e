# ctwhy: what to do with this tree. "make help" lists the targets.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)
GOBUILD  = CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)'

# What "go generate" makes.
GENERATED = $(wildcard pkg/probe/*_bpf*)

GOLANGCI = $(shell command -v golangci-lint || echo go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0)

# make test-vm RUN=TestLab/6.12, or SCENARIO=TestEvicted, or both
RUN      ?= .
SCENARIO ?= .

.PHONY: build build-arm64 generate check-generated vet lint test test-unit test-vm demo bench clean help

build: ## build ctwhy, static
	@scripts/setup build
	$(GOBUILD) -o ctwhy ./cmd/ctwhy

build-arm64: ## build ctwhy-arm64
	@scripts/setup build
	GOOS=linux GOARCH=arm64 $(GOBUILD) -o ctwhy-arm64 ./cmd/ctwhy

generate: ## compile the BPF code again (clang)
	@scripts/setup build generate
	go generate ./...

# Other versions of clang make other, equally good code of the same source, so
# only the one that made what is committed can tell whether it is current.
CLANG = 14

check-generated: ## fail if what is committed isn't what the sources give
	@scripts/setup build generate
	@if ! clang --version | grep -q 'version $(CLANG)\.'; then \
		echo 'make: the committed BPF code is of clang $(CLANG), which is not here: it is not compared' >&2; \
		test -z "$$CI"; \
	else \
		go generate ./... && git diff --exit-code --stat -- $(GENERATED) || \
		{ echo 'make: the generated files differ from their sources: commit what make generate made' >&2; exit 1; }; \
	fi

vet:
	go vet ./...
	go vet -tags guest ./...

lint: ## gofmt, clang-format, golangci-lint, vet
	@scripts/setup build generate
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	@git ls-files 'bpf/*.c' 'headers/*.h' | xargs -r clang-format --dry-run -Werror
	$(GOLANGCI) run
	@$(MAKE) --no-print-directory vet

test: ## all tests: generated files, vet, units, namespaces, VMs of every kernel
	@scripts/setup build lab
	@$(MAKE) --no-print-directory check-generated
	@$(MAKE) --no-print-directory vet
	@$(MAKE) --no-print-directory test-unit RACE=-race
	@$(MAKE) --no-print-directory test-vm

test-unit: ## what needs no VM; as root also what needs network namespaces
	@scripts/setup build
	go test $(RACE) $$(go list ./... | grep -v /test/matrix)

test-vm: ## everything that needs a kernel of its own, on every kernel of the matrix
	@scripts/setup build lab
	go test -count=1 -timeout 40m -run '$(RUN)' ./test/matrix -scenario '$(SCENARIO)'

demo: ## a DNS race, a full table and what ctwhy says of them, in a VM
	@scripts/setup build lab
	go run ./test/demo

bench: ## what tracing costs, in guest instructions
	@scripts/setup build bench
	go run ./test/bench

clean:
	rm -f ctwhy ctwhy-arm64

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 18
