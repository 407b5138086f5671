# The one script runner: by hand and in CI the same.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

BIN := bin/alphalora
CODE := $(wildcard */)

# No library downloads plugins behind our back, in tests either.
export GOMLX_NO_AUTO_INSTALL := 1

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1|\2/p' Makefile | while IFS='|' read -r t d; do printf '  make %-12s %s\n' "$$t" "$$d"; done

setup: ## fetch or build the native libraries (skipped when they are there)
	@scripts/setup.sh

setup-cuda: ## the same for NVIDIA GPUs (3 GB)
	@scripts/setup.sh cuda

build: setup ## build bin/alphalora
	@mkdir -p bin
	@go build -o $(BIN) ./cmd/alphalora

test: setup ## vet and run every test, with a summary
	@go vet ./...
	@go build -o bin/testsum ./scripts/testsum
	@go test -timeout 30m -json ./... 2>&1 | bin/testsum

check: setup ## formatting, vet, staticcheck, go.mod, dependency rules
	@files=$$(gofmt -l $(CODE)); [ -z "$$files" ] || { echo "check: not formatted (run make fmt): $$files" >&2; exit 1; }
	@go vet ./...
	@go tool staticcheck ./...
	@go mod tidy -diff || { echo "check: go.mod or go.sum is not tidy (run go mod tidy)" >&2; exit 1; }
	@go mod verify >/dev/null
	@go test -count=1 -v -run 'Test' ./internal/rules | grep -E 'rules_test.go|^(FAIL|ok)|^ +--- FAIL' 
	@echo "check: formatting, vet, staticcheck, go.mod and rules are in order"

gpu-bundle: setup ## dist/gpu-bundle: one folder for a GPU machine without network and Go
	@scripts/gpu-bundle.sh

fmt: ## format the code
	@gofmt -w $(CODE)

demo: build ## the whole job on the shipped model, under 4 minutes on 2 cores
	@$(BIN) demo --out runs/demo

SEEDLING := runs/seedling
seedling: build ## make the shipped model again: corpus, tokenizer, pretraining (an hour or less on 2 cores)
	@go run ./scripts/seedling -out $(SEEDLING)
	@$(BIN) train --config $(SEEDLING)/pretrain.yaml --overwrite
	@cp $(SEEDLING)/run/model/* internal/seedling/base/
	@echo "seedling: internal/seedling/base is new; make demo tries it"

goldens: ## make the numbers anew that transformers computed (its own virtual environment)
	@scripts/goldens.sh

clean: ## remove what was built (the native libraries stay)
	@rm -rf bin runs .deps/build .deps/*.log

.PHONY: help setup setup-cuda build test check gpu-bundle fmt demo seedling goldens clean
