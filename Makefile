PYTHON ?= python3
BIN := .venv/bin
PORT ?= 4141

.PHONY: serve test lint types layers bench clean

serve: .venv/installed ## environment + model + gateway
	$(BIN)/breakeven serve --port $(PORT)

test: lint types layers ## everything CI runs
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --cov --cov-report=term:skip-covered

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

layers: .venv/installed
	$(BIN)/lint-imports

.venv/installed: requirements/bootstrap.txt requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/bootstrap.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

lock: ## refresh the locked, hashed dependencies
	$(BIN)/uv pip compile --upgrade --generate-hashes --no-header --universal --python-version 3.11 --extra dev pyproject.toml -o requirements/dev.txt

clean:
	rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
