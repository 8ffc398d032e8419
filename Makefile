# Everything lives in .venv and its kin; nothing else on the machine is touched.
PYTHON ?= python3
BIN := .venv/bin
PIP := -m pip install --quiet --disable-pip-version-check
TESTS ?= tests
PYTEST := -m pytest -n 2 --dist worksteal $(TESTS)

.PHONY: demo lint test test-kernels test-system test-devices test-slow test-lowest test-newest
.PHONY: docs kills fuzz bench notebooks format clean

demo: .venv/demo
	$(BIN)/bss2jax train configs/digits.toml --report

test: lint
	$(BIN)/python $(PYTEST) -m "not slow and not devices"

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# From the chip to networks and training; then from configs to the command line and the wheel, and
# many devices and processes, of which `make test` has no more than a core.
test-kernels: .venv/test
	$(BIN)/python $(PYTEST) -m "not slow and not system and not devices"

test-system: .venv/test
	$(BIN)/python $(PYTEST) -m "not slow and system or devices"

test-devices: .venv/test
	$(BIN)/python -m pytest -n 2 -m devices tests/test_devices.py tests/test_hosts.py

test-slow: .venv/test
	$(BIN)/python $(PYTEST) -m slow

# The lowest versions that pyproject.toml declares, and the newest that pip finds: for example
# `make test-newest PYTHON=python3.13`. An environment each; TESTS="tests/test_vmm.py" for less.
test-lowest:
	$(PYTHON) -m venv --clear .venv-lowest
	.venv-lowest/bin/python $(PIP) uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python \
		--resolution lowest-direct --editable . --group test
	.venv-lowest/bin/python $(PYTEST) -m "not slow and not devices"

test-newest:
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python $(PIP) --upgrade pip
	.venv-newest/bin/python $(PIP) --upgrade --editable . --group test
	.venv-newest/bin/python $(PYTEST) -m "not slow and not devices"

# The pages in site/, with notebooks and pictures executed, and every piece of code in them run.
docs: .venv/test notebooks
	BSS2JAX_DOCS=full NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python -m pytest -m "slow or not slow" tests/test_docs.py

kills: .venv/test
	$(BIN)/python tests/kills.py

fuzz: .venv/test
	$(BIN)/python tests/fuzz.py

# Training steps beside those of other libraries, in an environment of its own. On Linux the torch
# of PyPI is for CUDA, gigabytes: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu has less.
bench: .venv-bench/made
	.venv-bench/bin/python benchmarks/peers

# Executed at full size where they have changed: minutes. `make docs` shows them as tutorials.
notebooks: $(patsubst notebooks/%,runs/notebooks/%,$(wildcard notebooks/*.ipynb))

runs/notebooks/%.ipynb: notebooks/%.ipynb | .venv/notebooks
	$(BIN)/jupyter nbconvert --execute --to notebook --output-dir runs/notebooks $<

format: .venv/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-bench .venv-lowest .venv-newest

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP) --upgrade pip

.venv/demo: .venv/bin/python pyproject.toml
	$(BIN)/python $(PIP) --editable .
	touch $@

.venv/test: .venv/bin/python pyproject.toml
	$(BIN)/python $(PIP) --editable . --group test
	touch $@

.venv-bench/made: pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python $(PIP) --upgrade pip
	.venv-bench/bin/python $(PIP) --editable . --group bench
	touch $@

.venv/notebooks: .venv/bin/python pyproject.toml
	$(BIN)/python $(PIP) --editable ".[notebooks]"
	touch $@
