"""The validated study, its wildcards, and the two parameters that decide a rerun."""

import os
import re
from pathlib import Path
from shlex import quote

from snakemake.exceptions import WorkflowError

from ke_steps._errors import UserError
from ke_steps._provenance import canonical_json, code_digest
from ke_steps.settings import ORIGINAL, FictionalKnowledge, LocalText, NurserySource
from ke_steps.study import read_study

# For the jobs. Threads that wait must not spin for long: beside another job they would slow both
# tenfold. Tokenizers warn when a process forks after using their own threads.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

try:
    STUDY = read_study(config)
except UserError as error:
    raise WorkflowError(f"the study's config is wrong:\n{error}") from None

RESULTS = STUDY.results_dir
NURSERIES = [m for m, model in STUDY.models.items() if isinstance(model.source, NurserySource)]
FETCHED = [m for m in STUDY.models if m not in NURSERIES]
VARIANTS = [ORIGINAL, *STUDY.variants]


def one_of(names):
    """A wildcard constraint: exactly these names; with none, nothing matches."""
    return "|".join(map(re.escape, map(str, names))) or "(?!)"


wildcard_constraints:
    model=one_of(STUDY.models),
    step=r"\d+",
    variant=one_of(VARIANTS),
    recipe=one_of(STUDY.recipes),
    corpus=one_of(STUDY.corpora),
    seed=one_of(STUDY.seeds),


CHECKPOINT = "{model}/step{step}"
STATE = f"{CHECKPOINT}/{{variant}}"
RUN = f"{STATE}/{{recipe}}/seed{{seed}}"


def settings_for(step):
    """One canonical JSON of everything that a job of this step depends on."""
    return lambda wildcards: canonical_json(STUDY.settings_for(step, dict(wildcards.items())))


def logs(step, place):
    """Where a job's messages and its record (time, memory, hashes) go."""
    folder = f"{RESULTS}/logs/{step}/{place}".rstrip("/")
    return {"text": f"{folder}/log.txt", "record": f"{folder}/record.json"}


def manifest_of(model, step):
    rule_name = "pretrain_nursery" if model in NURSERIES else "fetch_checkpoint"
    return f"{RESULTS}/{rule_name}/{model}/step{step}/manifest.json"


def checkpoint(wildcards):
    return manifest_of(wildcards.model, wildcards.step)


def tokenizer(wildcards):
    """The nursery's own tokenizer, or that of a fetched family's first checkpoint."""
    if wildcards.model in NURSERIES:
        return f"{RESULTS}/train_tokenizer/{wildcards.model}/manifest.json"
    return manifest_of(wildcards.model, STUDY.models[wildcards.model].steps[0])


def state(wildcards):
    """A checkpoint, with the multipliers of its variant when it has one."""
    files = {"checkpoint": checkpoint(wildcards)}
    if wildcards.variant != ORIGINAL:
        files["multipliers"] = f"{RESULTS}/resuscitate/{STATE}/multipliers.safetensors".format(
            **wildcards
        )
    return files


def multipliers_option(wildcards, input):
    return f"--multipliers {quote(input.multipliers)}" if "multipliers" in input.keys() else ""


def weight_files(wildcards):
    """The files of a checkpoint from outside, so that a changed one is fetched again."""
    source = STUDY.models[wildcards.model].source
    path = Path(source.path.replace("{step}", wildcards.step))
    if path.is_file():
        return [str(path)]
    return sorted(str(file) for kind in ("json", "safetensors") for file in path.glob(f"*.{kind}"))


def text_files(wildcards):
    source = STUDY.corpora[wildcards.corpus].source
    return source.paths if isinstance(source, LocalText) else []


def knowledge_files(wildcards):
    source = STUDY.knowledge.source
    if isinstance(source, FictionalKnowledge):
        return [source.paraphrase_path, source.once_path]
    return []


def sequences(corpus):
    return f"{RESULTS}/prepare_corpus/{{model}}/{corpus}/sequences.parquet"


STATES = [
    {"model": model, "step": step, "variant": variant}
    for model in STUDY.models
    for variant in VARIANTS
    for step in STUDY.steps_of(variant, model)
]
RUNS = [
    state | {"recipe": recipe, "seed": seed}
    for state in STATES
    for recipe in STUDY.recipes
    for seed in STUDY.seeds
]


def of_each(places, pattern):
    """The pattern filled in for every state or run of the study, each path once."""
    return list(dict.fromkeys(pattern.format(**place) for place in places))
