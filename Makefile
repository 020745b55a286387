# Every target makes what it needs: a virtual environment in .venv with the project and its tools.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check fmt bench bench-smoke compat clean

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("rfbulk needs Python 3.11 or newer: make PYTHON=python3.11 …" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

demo: $(READY)  ## upload real images to the embedded emulator and compare every hash (IMAGES=folder for your own)
	$(BIN)/python -m rfbulk.cli.demo $(if $(IMAGES),--images '$(IMAGES)')

test: $(READY)  ## all tests
	$(BIN)/python -m pytest -q

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

compat: $(READY)  ## Roboflow's own client against the emulator, in an environment of its own
	$(BIN)/python tests/compat/real_client.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
