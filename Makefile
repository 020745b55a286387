# Every target makes what it needs: a virtual environment in .venv with the project and its tools.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
WORKERS := 3
READY := $(VENV)/.ready

.PHONY: demo test check fmt bench bench-smoke chaos crash fuzz soak cluster clouds browser compat clean

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo 'rfbulk needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 …'; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

demo: $(READY)  ## real images in, a job on them, results out; every hash compared (IMAGES=folder for your own)
	$(BIN)/python -m rfbulk.cli.demo $(if $(IMAGES),--images '$(IMAGES)')

# Three workers on two cores: many tests wait for a limit, or for another process.
test: $(READY)  ## all tests (PYTEST='tests/core -k naming': some of them)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal $(PYTEST)

check: $(READY)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fmt: $(READY)  ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)  ## every scenario, interleaved with its rivals
	$(BIN)/python benchmarks/run.py

bench-smoke: $(READY)  ## every scenario, small
	$(BIN)/python benchmarks/run.py --smoke

AZURITE := $(VENV)/azurite/node_modules/azurite/package.json

$(AZURITE): | $(READY)
	npm install --silent --no-audit --no-fund --prefix $(VENV)/azurite azurite@3

cluster: $(READY)  ## real Dask clusters: 100,000 images, and whatever is of a cluster killed on the way
	RFBULK_TEST_CLUSTER_IMAGES=100000 $(BIN)/python -m pytest -q tests/cluster

clouds: $(READY)  ## buckets of every cloud, 10,000 objects each: moto, Azurite (needs node and npm), a verifier for Google
	@$(MAKE) --no-print-directory $(AZURITE) && all=all || { all=; \
	echo '*** Azurite cannot be installed, so Azure is NOT tried here: it needs node, npm and a registry of packages.'; }; \
	RFBULK_TEST_CLOUDS=$${all:-most} $(BIN)/python -m pytest -q -n 3 --dist worksteal tests/clouds

AXE := $(VENV)/browser/node_modules/axe-core/package.json

$(AXE): | $(READY)
	npm install --silent --no-audit --no-fund --prefix $(VENV)/browser axe-core@4

browser: $(READY)  ## the dashboard and the report in a real browser: Chromium, its chromedriver, and axe (needs npm)
	@command -v chromedriver >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	{ apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	chromium chromium-driver fonts-dejavu-core; } >/dev/null; } || true
	@$(MAKE) --no-print-directory $(AXE) && command -v chromedriver >/dev/null && all=required || { all=; \
	echo '*** Chromium, chromedriver or axe cannot be installed, so what needs them is NOT tried here.'; }; \
	RFBULK_TEST_BROWSER=$$all $(BIN)/python -m pytest -q -n 2 --dist loadfile tests/dashboard

crash: $(READY)  ## kill and resume a thousand times, each at another point (DEATHS=N SEED=N ROAD='export'); a quarter of an hour
	RFBULK_POWER_STRIDE=1 $(BIN)/python -m pytest -q tests/crash/test_power_images.py
	$(BIN)/python -m tests.crash.long_run --deaths $(or $(DEATHS),1000) $(if $(SEED),--seed $(SEED)) $(if $(ROAD),--road '$(ROAD)')

chaos: $(READY)  ## an upload that anything may befall, in any order, against the service's ledger (EXAMPLES=200 STEPS=30)
	RFBULK_CHAOS_EXAMPLES=$(or $(EXAMPLES),200) RFBULK_CHAOS_STEPS=$(or $(STEPS),30) $(BIN)/python -m pytest -q tests/chaos

fuzz: $(READY)  ## all that reads foreign bytes: by properties (EXAMPLES=500), then guided by coverage (FUZZ_SECONDS=600)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'atheris>=3' || \
	echo '*** atheris cannot be installed, so nothing is fuzzed by coverage here.'
	RFBULK_FUZZ_EXAMPLES=$(or $(EXAMPLES),500) $(BIN)/python -m pytest -q --timeout 0 tests/fuzz
	$(BIN)/python -m tests.fuzz.guided --seconds $(or $(FUZZ_SECONDS),600) || test $$? = 3

soak: $(READY)  ## up and down in one process that lives on, with faults: is it flat? (SOAK_BYTES=50GB, or SOAK_MINUTES=N)
	SOAK_BYTES=$(or $(SOAK_BYTES),50GB) SOAK_MINUTES=$(SOAK_MINUTES) $(BIN)/python -m tests.soak.run

compat: $(READY)  ## Roboflow's own client against the emulator, in an environment of its own
	$(BIN)/python -m tests.compat.real_client

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz build dist
