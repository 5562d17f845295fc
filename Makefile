# Two commands: `make run` serves on port 9000, `make test` runs every test. Each sets up what is missing.
SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: run test lint unit bench soak doctor listening clean setup

setup: $(VENV)/.installed models/faces/.complete

run: setup
	@exec $(PY) run.py serve

test: lint unit

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

unit: setup $(VENV)/.installed-dev $(VENV)/.installed-musetalk $(VENV)/.chromium build/rtvi/page.js
	$(PY) -m pytest -m "not alone" --numprocesses=2 --dist=loadfile
	$(PY) -m pytest -m alone

bench: setup $(VENV)/.installed-dev $(VENV)/.chromium
	$(PY) -m bench

# An hour: 500 bad requests a second beside a session, a thousand sessions, kills at random moments, half an hour of coming and going.
soak: setup $(VENV)/.installed-dev
	$(PY) -m bench.soak

doctor: setup
	$(PY) run.py doctor

# The student's voice: packages and a model, 150 MB each.
listening: $(VENV)/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-asr.txt
	$(PY) run.py models fetch asr

$(VENV)/.installed: requirements.txt requirements-docs.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info[:2] >= (3, 11) else "Lectern needs Python 3.11 or newer; point PYTHON at one: make PYTHON=python3.11")'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-docs.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt requirements-asr.txt $(VENV)/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# torch first and on its own: asked for together, pip may choose a build with gigabytes of CUDA where none is needed.
$(VENV)/.installed-musetalk: requirements-gpu.txt $(VENV)/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' requirements-gpu.txt)"
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-gpu.txt
	@touch $@

models/faces/.complete: $(VENV)/.installed avatars/models.py
	$(PY) run.py models fetch faces
	@mkdir -p $(@D) && touch $@

$(VENV)/.chromium: bench/install_chromium.sh $(VENV)/.installed-dev
	bash bench/install_chromium.sh
	@touch $@

# The public RTVI clients from npm, bundled for the browser test. Where they cannot be had the test is skipped, but with CI=true.
build/rtvi/page.js: tests/rtvi/bundle.sh tests/rtvi/page/package-lock.json tests/rtvi/page/page.js
	bash tests/rtvi/bundle.sh

clean:
	rm -rf $(VENV) build/rtvi tests/rtvi/page/node_modules models data .mypy_cache .ruff_cache .pytest_cache .hypothesis
