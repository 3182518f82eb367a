# ClusterPulse: what a developer types. Everything is installed, built and cleaned up from here; `make help` lists it.
SHELL := /bin/bash
BUILD ?= build
JOBS ?= $(shell nproc)
# What `make build` builds; empty: everything.
TARGETS ?=
# Seconds each fuzz target runs in `make fuzz`; rounds of `make soak`.
FUZZ_SECONDS ?= 60
SOAK_ROUNDS ?= 10

.DEFAULT_GOAL := help
.PHONY: help deps build test e2e check format soak fuzz bench demo clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install the Debian packages the build needs
	@scripts/install-deps.sh build

build: deps ## build everything; programs land in build/bin/
	@mkdir -p $(BUILD)
	@cmake -S . -B $(BUILD) -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo > $(BUILD)/configure.log || { cat $(BUILD)/configure.log; exit 1; }
	@cmake --build $(BUILD) -j $(JOBS) $(if $(TARGETS),--target $(TARGETS))

test: ## run every test against the real parts (Redis, etcd + kube-apiserver, TLS, signals); ends with ctest's summary
	@scripts/install-deps.sh test
	@$(MAKE) --no-print-directory build
	@assets=$$(tests/support/kube-assets.sh) && cd $(BUILD) && KUBEBUILDER_ASSETS=$$assets ctest --output-on-failure -j $(JOBS)

e2e: ## run only the end-to-end tests (real binaries, real API servers)
	@scripts/install-deps.sh test
	@$(MAKE) --no-print-directory build
	@assets=$$(tests/support/kube-assets.sh) && cd $(BUILD) && KUBEBUILDER_ASSETS=$$assets ctest --output-on-failure -L e2e

check: ## formatting, clang-tidy and thread-safety analysis, unit tests under the sanitizers
	@scripts/install-deps.sh check
	@scripts/check.sh all

format: ## rewrite the sources in the project's format
	@scripts/install-deps.sh check
	@git ls-files '*.h' '*.cc' | xargs clang-format-14 -i

soak: ## long fault and churn runs; SOAK_ROUNDS=N
	@scripts/install-deps.sh test
	@$(MAKE) --no-print-directory build
	@assets=$$(tests/support/kube-assets.sh) && KUBEBUILDER_ASSETS=$$assets scripts/soak.sh $(BUILD) $(SOAK_ROUNDS)

fuzz: ## run every fuzz target; FUZZ_SECONDS=N each
	@scripts/install-deps.sh check
	@scripts/fuzz.sh $(FUZZ_SECONDS)

bench: ## run the benchmarks and print their ratios (docs/benchmarks.md)
	@scripts/install-deps.sh test
	@$(MAKE) --no-print-directory build
	@scripts/bench.sh $(BUILD)

demo: ## a simulated fleet and the hub on this machine; DEMO_SECONDS=N ends by itself
	@$(MAKE) --no-print-directory build TARGETS="clusterpulse-hub clusterpulse-collector kubesim"
	@deploy/demo/demo.sh $(BUILD)/bin

clean: ## remove what was built (not the cache under ~/.cache/clusterpulse)
	@rm -rf $(BUILD) $(BUILD)-*
