# Everything lives in .venv; nothing else on the machine is touched.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test docs test-slow kills fuzz bench notebooks format clean

demo: .venv/demo
	$(BIN)/bss2jax train configs/digits.toml

test: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal

# The pages in site/, and every piece of code in them run.
docs: .venv/test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	$(BIN)/python -m pytest -m "slow or not slow" tests/test_docs.py

test-slow: .venv/test
	JAX_DISABLE_MOST_OPTIMIZATIONS=0 $(BIN)/python -m pytest -m slow

kills: .venv/test
	$(BIN)/python tests/kills.py

fuzz: .venv/test
	$(BIN)/python tests/fuzz.py

bench: .venv/test
	$(BIN)/python benchmarks/vmm.py
	$(BIN)/python benchmarks/spiking.py

# Executed at full size, as pages to look at.
notebooks: .venv/notebooks
	$(BIN)/jupyter nbconvert --execute --to html --output-dir runs/notebooks notebooks/*.ipynb

format: .venv/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv

.venv/bin/python:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

.venv/demo: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/test: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	touch $@

.venv/notebooks: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[notebooks]"
	touch $@
