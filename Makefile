# Two commands set everything up: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
PINS := --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header
# A peer of 90 MB that only `make bench` installs.
SLING = sling-linux-amd64==1.4.11; sys_platform == 'linux' and platform_machine == 'x86_64'
# One more than there are cores, because many tests wait for a server.
TESTS_AT_ONCE = $$(($$(getconf _NPROCESSORS_ONLN) + 1))
INSTALLED := $(VENV)/.installed

.PHONY: help demo dev test test-long coverage lint format docs constraints audit bench storm dashboards clean

help:  ## List the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

demo: $(INSTALLED)  ## Sync 30 dates of sample data, from an empty machine to a table of results
	@$(VENV)/bin/engarde demo

dev: $(INSTALLED)  ## Start the pages, the API, and the Dagster UI (sample data where nothing is configured)
	@$(VENV)/bin/engarde dev

test: $(INSTALLED)  ## Run the tests, without the long ones
	@.ci/test-programs $(VENV)
	$(VENV)/bin/pytest -n $(TESTS_AT_ONCE) --dist loadgroup -m "not long"

test-long: $(INSTALLED)  ## Run the long tests: storms of faults and kills, the browser, PostgreSQL 15, ...
	@.ci/test-programs $(VENV)
	$(VENV)/bin/pytest -n $(TESTS_AT_ONCE) --dist loadgroup --durations 20 -m long

coverage: $(INSTALLED)  ## Run all tests, and report which lines and branches they cover
	@.ci/test-programs $(VENV)
	$(VENV)/bin/pytest -n $(TESTS_AT_ONCE) --dist loadgroup --cov --cov-report=term

lint: $(INSTALLED)  ## Check style and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

format: $(INSTALLED)  ## Format the code, and fix what the linter can
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

docs: $(INSTALLED)  ## Build the documentation site in build/site, and check its links
	@rm -rf build/docs
	@mkdir -p build/docs/benchmarks
	@cp -R README.md CONTRIBUTING.md CHANGELOG.md SECURITY.md LICENSE constraints.txt deploy docs build/docs
	@cp benchmarks/report.md benchmarks/report-*.svg build/docs/benchmarks
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build  # the variable silences an announcement of the theme
	@echo "The documentation is in build/site/index.html."

constraints: $(INSTALLED)  ## Pin the newest versions that pyproject.toml allows, with hashes
	$(VENV)/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
		$(PINS) --output-file constraints.txt
	$(VENV)/bin/uv pip compile pyproject.toml --extra otel --constraint constraints.txt --universal --python-version 3.11 \
		$(PINS) --output-file deploy/requirements.txt
	$(VENV)/bin/uv pip compile pyproject.toml --extra distributed --extra kubernetes --extra otel \
		--constraint constraints.txt --universal --python-version 3.11 $(PINS) --output-file deploy/requirements-distributed.txt
	echo setuptools | $(VENV)/bin/uv pip compile - --constraint constraints.txt --universal --python-version 3.11 \
		$(PINS) --output-file deploy/requirements-build.txt
	$(VENV)/bin/uv pip compile pyproject.toml --extra local --constraint constraints.txt --universal --python-version 3.11 \
		$(PINS) --output-file deploy/requirements-local.txt
	echo "$(SLING)" | $(VENV)/bin/uv pip compile - --constraint constraints.txt --universal --python-version 3.11 \
		$(PINS) --output-file benchmarks/requirements.txt

audit: $(INSTALLED)  ## Ask PyPI for known vulnerabilities of everything that is pinned
	@$(VENV)/bin/pip-audit --strict --disable-pip --require-hashes --requirement constraints.txt

bench: $(INSTALLED)  ## Measure everything beside its limit, the old design and peers (40 minutes); BENCH="--help" explains
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r benchmarks/requirements.txt \
		|| echo "Sling cannot be installed; it is left out."
	@$(VENV)/bin/python -m benchmarks $(BENCH)

storm: $(INSTALLED)  ## Sync invented histories under faults, then under kills; SEED=.. SCENARIOS=.. (300) KILLS=.. (20)
	@$(VENV)/bin/python -m engarde_pipeline_tests.storm $(if $(SEED),--seed $(SEED)) $(if $(SCENARIOS),--scenarios $(SCENARIOS)) $(if $(KILLS),--kills $(KILLS))

dashboards: $(INSTALLED)  ## Generate Grafana's dashboards from deploy/grafana/generate.py
	@$(VENV)/bin/python deploy/grafana/generate.py

clean:  ## Remove the environment and the embedded default with its data
	rm -rf $(VENV) .engarde

$(INSTALLED): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r constraints.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
