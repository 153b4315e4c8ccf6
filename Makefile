# `make help` lists the commands. Each does the set-up that it needs; doing it again costs nothing.

PYTHON ?= python3
BUILD := $(PYTHON) environments/build.py
APP := .venv/app/bin
DEV := .venv/dev/bin
MEASURE := .venv/bench/bin
TOOLS := .venv/dev/packages/bin

SOURCES := proto/generate.py client export orchestrator serving benchmarks observability training demo deploy docs/generate environments tests
STACK ?=
SEED ?= 1
MINUTES ?= 60
BENCH ?=
FAULTS ?=
PERF_DATA := benchmarks/out/perf_analyzer/scenes.json
ARGS ?= -m search -i grpc -u 127.0.0.1:50051 --input-data $(PERF_DATA) --measurement-mode count_windows

.DEFAULT_GOAL := help
.PHONY: help evaluate loop setup setup-export setup-milvus setup-bench setup-alternatives setup-observe setup-ray setup-dev demo up down status bench bench-overload bench-swap bench-ray bench-report bench-precision perf-analyzer observe test test-faults test-quick test-fuzz test-soak check check-docs format proto configs dashboards references docs sizing lock secrets

help:  ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/' | expand -t 28

setup:  ## Build the environments that run Semblance on this host
	@$(BUILD) app triton

setup-export:  ## Build the environment that exports, trains and evaluates models (torch, 6 GB)
	@$(BUILD) export

setup-milvus:  ## Build the environment of the real Milvus standalone server
	@$(BUILD) milvus

setup-bench: setup  ## Build the environments that measure Semblance
	@$(BUILD) bench perf_analyzer

setup-alternatives:  ## Build the environments of what Semblance is measured beside (torch among them, 7 GB)
	@$(BUILD) alternatives export

setup-ray:  ## Build the environment whose `semblance` has Ray, for `--engine ray`
	@$(BUILD) ray

setup-observe: setup-bench setup-milvus
	@$(BUILD) prometheus

setup-dev:  # What the checks and tests need
	@$(BUILD) dev docs

demo: setup  ## Publish, start, index 240 items, search 60 unseen scenes, report, stop
	@$(APP)/python -m demo.run

evaluate: setup-export  ## Measure detection, retrieval, index and robustness on unseen scenes: training/out/report.html
	@$(BUILD) triton
	@.venv/export/bin/python -m demo.report

loop: setup setup-export  ## Annotate, fine-tune, release, collect feedback, learn from it, release again: by how much is it better?
	@.venv/export/bin/python -m demo.loop

model_repository/%/1: | setup  # The demo's models, where nothing else is published yet
	@ls -d model_repository/$*/[0-9]* >/dev/null 2>&1 || $(APP)/semblance publish demo/weights/$*

up: setup $(if $(filter standalone --milvus=standalone,$(STACK)),setup-milvus)
up: model_repository/detector/1 model_repository/embedder/1  ## Start Triton, Milvus and the orchestrator on this host (STACK="--milvus standalone" for options)
	@$(APP)/semblance up $(STACK)

down: setup  ## Stop what `make up` started
	@$(APP)/semblance down

secrets:  ## Make the passwords that docker-compose.yml mounts, where they are missing
	@$(PYTHON) deploy/credentials.py

status: setup  ## Say what runs, where, and whether it is ready
	@$(APP)/semblance status

PRECISION := benchmarks/out/precision
FASTEST := benchmarks/out/fastest
REDUCE := .venv/export/bin/semblance export reduced demo/weights

$(PRECISION)/demo: | setup
	$(APP)/python -m demo.generate --out $@ --seed 11

$(FASTEST)/detector: | setup-export $(PRECISION)/demo
	$(REDUCE)/detector --precision int8 --calibrate $(PRECISION)/demo/scenes --output $@

$(FASTEST)/embedder: | setup-export $(PRECISION)/demo
	$(REDUCE)/embedder --precision int8 --calibrate $(PRECISION)/demo/images --output $@

NEXT := benchmarks/out/next

# As fast as the ones that they are put in place of, and others: calibrated on other pictures, with shorter vectors.
$(NEXT)/detector: | setup-export $(PRECISION)/demo
	$(REDUCE)/detector --precision int8 --calibrate $(PRECISION)/demo/images --output $@

$(NEXT)/embedder: | setup-export $(PRECISION)/demo
	$(REDUCE)/embedder --precision int8 --project 128 --calibrate $(PRECISION)/demo/images --output $@

# What is measured with these too.
WITH_FASTEST := efficiency alternatives scale overload swap chain-fastest

bench: $(if $(filter $(WITH_FASTEST),$(or $(BENCH),$(WITH_FASTEST))),$(FASTEST)/detector $(FASTEST)/embedder)
bench: $(if $(filter swap,$(or $(BENCH),swap)),$(NEXT)/detector $(NEXT)/embedder)
bench: $(if $(filter alternatives,$(or $(BENCH),alternatives)),setup-alternatives)
bench: $(if $(filter ray,$(or $(BENCH),ray)),setup-ray)
bench: setup-bench setup-milvus  ## Measure the figures and scenarios (BENCH="efficiency chain" to choose)
	@$(MEASURE)/semblance bench run $(BENCH)

bench-overload:  ## Measure what is answered, and how soon, at 1, 2, 3 and 5 times what the service can do
	@$(MAKE) bench BENCH=overload

bench-swap:  ## Replace the embedder and the detector under load; count what failed, and what mixed two releases
	@$(MAKE) bench BENCH=swap

bench-ray:  ## Index and re-index by Ray jobs that lose a worker, and measure them beside plain puts; fails where anything is doubled or missing
	@$(MAKE) bench BENCH=ray
	@$(MEASURE)/python -m semblance.benchmarks.ray_jobs benchmarks/out/ray.json

bench-report: setup-bench  ## Draw the plots and write benchmarks/REPORT.md from what was measured
	@$(MEASURE)/semblance bench report

$(PERF_DATA): | setup-bench  # The demo's scenes, as perf_analyzer reads them
	@$(MEASURE)/python -m demo.generate --out benchmarks/out/world --items 24 --scenes 24
	@$(MEASURE)/python -m semblance.benchmarks.input_data benchmarks/out/world/scenes $@

perf-analyzer: setup-bench $(PERF_DATA)  ## Run stock perf_analyzer against what `make up` started (ARGS="..." for its arguments)
	@$(MEASURE)/python -m semblance.benchmarks.perf_analyzer $(ARGS)

bench-precision: setup $(FASTEST)/detector $(FASTEST)/embedder  ## Export the demo's models at each precision, measure them, write docs/models.md
	for model in detector embedder; do $(APP)/semblance publish demo/weights/$$model --repository $(PRECISION)/fp32; done
	$(REDUCE)/detector --precision fp16 --calibrate $(PRECISION)/demo/scenes --output $(PRECISION)/detector-fp16
	$(REDUCE)/embedder --precision fp16 --calibrate $(PRECISION)/demo/images --output $(PRECISION)/embedder-fp16
	$(REDUCE)/embedder --project 128 --calibrate $(PRECISION)/demo/images --output $(PRECISION)/embedder-128
	$(REDUCE)/embedder --project 128 --whiten --calibrate $(PRECISION)/demo/images --output $(PRECISION)/embedder-128w
	.venv/triton/bin/python benchmarks/precision.py --write docs/models.md $(PRECISION)/fp32/*/1 $(FASTEST)/* $(PRECISION)/*-*

observe: setup-observe  ## Drive load on this host under Prometheus; every query of dashboard and alerts must have data
	@$(MEASURE)/python -m semblance.observability.observe

test: setup-dev  ## Run all tests, against real Triton, Milvus, PostgreSQL
	@$(BUILD) app triton milvus export perf_analyzer alternatives ray prometheus
	$(DEV)/python -m pytest --ignore tests/export --ignore tests/training
	.venv/export/bin/python -m pytest tests/export --confcutdir tests/export
	.venv/export/bin/python -m pytest tests/training --confcutdir tests/training

test-faults: setup-dev  ## Kill every part 200 times under load, and check every acknowledged write (FAULTS="--seed 7" to see a run again)
	@$(BUILD) app triton milvus
	$(DEV)/python -m pytest tests/faults
	$(DEV)/python -m tests.faults.kills $(FAULTS)

test-quick: setup-dev  ## Run the tests that start no server
	$(DEV)/python -m pytest tests/unit tests/fuzz

test-fuzz: setup-dev  ## Fuzz the decoder, the messages and the gRPC port, seeded, for some five minutes (SEED=)
	@$(BUILD) triton
	$(DEV)/python -m tests.fuzz --seed $(SEED)

test-soak: setup-dev  ## Load the whole service with callers good and bad; it must not grow (MINUTES=60, SEED=)
	@$(BUILD) triton
	$(DEV)/python -m tests.soak --minutes $(MINUTES) --seed $(SEED)

check: setup-dev  ## Format, lint, types, generated files current, links of Markdown files
	$(TOOLS)/ruff format --check $(SOURCES)
	$(TOOLS)/ruff check $(SOURCES)
	$(DEV)/python -m mypy
	PATH="$(TOOLS):$$PATH" $(DEV)/python proto/generate.py --check
	$(DEV)/python -m semblance.export.model_config --check model_repository
	$(TOOLS)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(DEV)/python -m tests.compose
	$(DEV)/python -m tests.kubernetes
	$(DEV)/python -m semblance.observability.generated --check deploy
	$(DEV)/python benchmarks/sizing.py --check docs/sizing.md
	@$(MAKE) --no-print-directory check-docs

check-docs: docs  # Every page has its place, links and anchors lead somewhere, references are current
	.venv/docs/bin/md-dead-link-check --no-color
	$(DEV)/python -m docs.generate --check docs/reference

format: setup-dev  ## Format the code and mend what the linter can
	$(TOOLS)/ruff format $(SOURCES)
	$(TOOLS)/ruff check --fix $(SOURCES)

proto: setup-dev  ## Generate the stubs from proto/
	PATH="$(TOOLS):$$PATH" $(DEV)/python proto/generate.py

configs: setup-dev  ## Render model_repository/*/config.pbtxt from the contract
	$(DEV)/python -m semblance.export.model_config --write model_repository

dashboards: setup-dev  ## Render deploy's Grafana dashboard and alert rules from observability/
	$(DEV)/python -m semblance.observability.generated --write deploy

references: setup-dev  ## Write docs/reference from the settings, the commands and proto/
	$(DEV)/python -m docs.generate --write docs/reference

docs: setup-dev  ## Build the documentation's site into site/ (DOCS_SOURCE=https://… for links to the code)
	NO_MKDOCS_2_WARNING=1 .venv/docs/bin/mkdocs build --strict

sizing: setup-dev  ## Compute the tables of docs/sizing.md
	$(DEV)/python benchmarks/sizing.py --write docs/sizing.md

lock:  ## Lock the environments anew from environments/*.in
	@$(BUILD) --lock
