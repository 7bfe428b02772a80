# Every command that this project has; `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# With it, each of the hundreds of processes that tests start would compile azpolicy anew (0.3 s of processor time), and
# each worker of pytest all tests (10 s).
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv run cluster prepared tools test test-unit lint format bench verdicts mutants templates generate manifests lock wheel sbom audit clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(READY) ## Create .venv with azpolicy in it, from the lock file

$(READY): requirements-dev.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is missing: install Python 3.11 or newer, or set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old: install Python 3.11 or newer, or set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: $(PYTHON) has no venv module: install your system's python3-venv package" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: ## A cluster on this machine with azpolicy at work in it, until Ctrl-C
	@$(MAKE) --no-print-directory --jobs 2 prepared
	@$(BIN)/python -m tests.cluster.demo

prepared: tools $(READY)
	@:

# Needs no virtual environment, so that one is made meanwhile. Where Python is too old, that one says so.
tools:
	@! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || $(PYTHON) -m tests.cluster.harness build >/dev/null

cluster: ## The test cluster alone, until Ctrl-C; prints its kubeconfig
	@$(MAKE) --no-print-directory --jobs 2 prepared
	@$(BIN)/python -m tests.cluster.harness up

# So many at a time, a file each: tests of a cluster mostly wait for something, and take a third of a core. A cluster is
# one worker's own. Without reorder, files begin in the order of tests/cluster/conftest.py.
WORKERS ?= 3

# The API servers and Gatekeepers of the tests collect garbage half as often: memory for processor time.
test: export GOGC ?= 200

test: $(READY) ## Every test, those on a real cluster too (WORKERS=3 at a time)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --by-file

test-unit: $(READY) ## Every test that needs no cluster: templates, deploy and examples too
	$(BIN)/pytest -n 2 --dist worksteal -m "not cluster"

lint: $(READY) ## ruff, mypy --strict, the order of imports, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m templates.generate --check
	$(BIN)/python -m docs.generate_policies --check
	$(BIN)/python -m docs.generate_deviations --check
	$(BIN)/python -m docs.generate_settings --check
	$(BIN)/python -m deploy.chart_readme --check

format: $(READY) ## Fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## Measure the figures of docs/benchmarks.md here
	@$(BIN)/python -m tests.bench

verdicts: $(READY) ## Our verdicts beside those of Azure's own templates, where these are at hand
	@$(BIN)/python -m tests.verdicts

mutants: $(READY) ## Changes of the Rego that no suite notices
	@$(BIN)/python -m tests.templates.mutants

templates: $(READY) ## Generate templates/*/template.yaml from their sources
	$(BIN)/python -m templates.generate

generate: templates ## Write every generated file that is stale
	$(BIN)/python -m docs.generate_policies
	$(BIN)/python -m docs.generate_settings
	$(BIN)/python -m deploy.chart_readme
	$(BIN)/python -m tests.deploy.manifests
	PATH="$(CURDIR)/$(BIN):$$PATH" examples/gitops/render.sh

manifests: $(READY) ## Render deploy/manifests/azpolicy.yaml from the chart
	$(BIN)/python -m tests.deploy.manifests

lock: $(READY) ## Resolve the lock files anew (needs uv on PATH)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --group dev pyproject.toml -o requirements-dev.lock

# Dated as the last commit, so that the same commit gives the same bytes; without git, as hatchling does.
wheel sbom: export SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),1580601600)

wheel: $(READY) ## Build dist/*.whl, the same bytes for the same commit
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

sbom: wheel ## Write dist/*.cdx.json: what the wheel and an image with it consist of (CycloneDX)
	$(BIN)/python -m deploy.sbom dist/*.whl

audit: $(READY) ## Look for published vulnerabilities of what requirements.lock installs (AUDIT=--strict for releases)
	@$(BIN)/python -m deploy.audit $(AUDIT)

clean: ## Remove what the commands above made in this folder
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -r {} +
