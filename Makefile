PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_WORKERS ?= 2

.PHONY: install demo demo-llm docs test check format clean

install: $(STAMP)

# All extras, pytest, ruff and the rest of the dev group come with it, so that every target below works at once.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "promptology needs Python 3.11 or newer; set PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[demo,data,image,metrics,postgres,ray,peft,optuna,web]" --group dev
	touch $(STAMP)

demo: install
	$(BIN)/promptology compare --task tickets --model minilm \
	  --method manual,knn-demos,linear-probe,prompt-tuning,dept,ptec --budget 12000passes --evidence-share 0.15 \
	  --out demo-out/report.html

demo-llm: install
	$(BIN)/python scripts/demo_llm.py

docs: install
	$(BIN)/python scripts/build_docs.py

test: install
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/size_report.py

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo-out site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
