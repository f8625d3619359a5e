# ctwhy: what to do with this tree. "make help" lists the targets.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)
GOBUILD  = CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)'

# What is generated and committed.
GENERATED = $(shell git ls-files '*_bpfel.go' '*_bpfel.o' '*_bpfeb.go' '*_bpfeb.o' '*_x86.go' '*_x86.o' '*_x86_bpfel.go' '*_x86_bpfel.o' '*_arm64_bpfel.go' '*_arm64_bpfel.o')

# Arguments for the tests in the VMs: make test-vm RUN=Matrix/6.12
RUN ?= .

.PHONY: build build-arm64 generate check-generated vet lint test test-unit test-vm demo bench clean help

build: ## build bin/ctwhy, static
	@scripts/setup build
	$(GOBUILD) -o bin/ctwhy ./cmd/ctwhy

build-arm64: ## build bin/ctwhy-arm64
	@scripts/setup build
	GOOS=linux GOARCH=arm64 $(GOBUILD) -o bin/ctwhy-arm64 ./cmd/ctwhy

generate: ## compile the BPF code again (clang)
	@scripts/setup build generate
	go generate ./...

check-generated: generate ## fail if what is committed isn't what the sources give
	@git diff --exit-code --stat -- $(GENERATED) || \
		{ echo 'make: the generated files differ from their sources: commit what make generate made' >&2; exit 1; }

vet:
	go vet ./...
	go vet -tags guest ./...

lint: ## gofmt, clang-format, golangci-lint
	@scripts/setup generate
	@test -z "$$(gofmt -l .)" || { gofmt -d .; exit 1; }
	@git ls-files 'bpf/*.[ch]' 'headers/*.h' 'test/*.c' | xargs -r clang-format --dry-run -Werror
	@if command -v golangci-lint >/dev/null; then golangci-lint run; \
	elif [ -n "$$CI" ]; then echo 'make: no golangci-lint: only vet' >&2; fi
	@$(MAKE) --no-print-directory vet

test: ## everything: generated files, lint, unit tests, namespaces, VMs of every kernel
	@scripts/setup lab
	$(MAKE) check-generated
	$(MAKE) vet
	$(MAKE) test-unit
	$(MAKE) test-vm

test-unit: ## what needs no VM; as root also what needs network namespaces
	@scripts/setup build
	go test $$(go list ./... | grep -v /test/matrix)

test-vm: ## every probe on every kernel of the matrix, in VMs
	@scripts/setup lab
	go test -count=1 -timeout 30m -run '$(RUN)' ./test/vm ./test/matrix

demo: build ## a full table, a DNS race and what ctwhy says of them, in a VM
	@scripts/setup lab
	test/demo/run

bench: build ## what tracing costs, in guest instructions
	@scripts/setup bench
	go run ./test/bench

clean:
	rm -rf bin

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 18
