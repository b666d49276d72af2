"""The validated study, its wildcards, and what every rule repeats."""

import atexit
import gc
import inspect
import os
import re
from pathlib import Path
from shlex import join, quote

from snakemake.exceptions import WorkflowError

from ke_steps.artefacts.places import (
    CHECKPOINT,
    FETCHED,
    MEASUREMENT,
    PASSAGES,
    PREPARATION,
    PRETRAINED,
    RUN,
    SCHEDULE,
    SEQUENCES,
    SHARD,
    STATE,
)
from ke_steps.job.errors import UserError
from ke_steps.job.files import canonical_json
from ke_steps.job.provenance import code_digest
from ke_steps.job.records import files_of
from ke_steps.running import snakemake_memory
from ke_steps.settings.interventions import Multipliers
from ke_steps.settings.learning import ORIGINAL
from ke_steps.settings.texts import LocalText, TokenFileText
from ke_steps.study import handed_over, jobs, own_results, requests, trained_models
from ke_steps.study.local_files import knowledge_paths, local_weights
from ke_steps.study.places import BRANCHED, TRAINED, folders
from ke_steps.study.reading import read_study

# For the jobs. Threads that wait must not spin for long: beside another job they would slow both
# tenfold. Tokenizers warn when a process forks after using their own threads.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# A bar that is drawn ten times a second would fill the log of a job of days.
os.environ.setdefault("TQDM_MININTERVAL", "1")
# torchrun gives its processes 30 seconds after SIGTERM: too few to save a large model's state.
os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "300")

# The DAG of a large study is millions of objects that stay: looking for garbage among them time and
# again took a quarter of the time of planning, and looking once more at the very end a sixth.
gc.set_threshold(100_000)
atexit.register(gc.freeze)

STUDY_FILE = Path(workflow.configfiles[-1]) if workflow.configfiles else None

LIMIT = workflow.global_resources.get("gpu")
GPUS_AT_A_TIME = None if LIMIT is None else LIMIT.value

try:
    STUDY = read_study(config, STUDY_FILE)
    # what the Snakemake in a cluster's job may use is what the job asked for
    if workflow.is_main_process and GPUS_AT_A_TIME is not None:
        requests.refuse_fewer_gpus(STUDY.cluster, GPUS_AT_A_TIME)
except UserError as error:
    raise WorkflowError(f"the study's config is wrong:\n{error}") from None

RESULTS = STUDY.results_dir
NURSERIES, BRANCHES = list(STUDY.nurseries), list(STUDY.branches)
VARIANTS = [ORIGINAL, *STUDY.arms]


# For results copied in from elsewhere, once: the Snakemake in a cluster's job may see files late.
if workflow.is_main_process:
    snakemake_memory.recall(Path(RESULTS))


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


def step(module, *flags, variables="", more=""):
    """The command of a step. Its flags are keywords of `run`, by the name of the input or output.

    `output_x` is the output `x` of the rule, `output` all that it has.
    """
    options = (f"--{flag.replace('_', '-')} {{{_source(flag)}:q}}" for flag in flags)
    words = [
        variables,
        "{params.launch} -m",
        f"ke_steps.{module} --settings {{params.{_settings(module)}:q}}",
        *options,
        more,
        "--record {log.record:q} --time-limit-minutes {resources.runtime} 2> {log.text:q}",
    ]
    return " ".join(filter(None, words))


def _settings(module):
    return "settings_file" if module in handed_over.STEPS else "settings"


def _source(flag):
    kind, _, name = flag.partition("_")
    return f"input.{flag}" if kind != "output" else f"output.{name}" if name else kind


def options_of(files):
    """The flags of lists of files, each given as patterns over `places` of the settings."""
    return " ".join(
        f"--{name.replace('_', '-')} {' '.join(map(quote, patterns))}"
        for name, patterns in files.items()
    )


def params_of(rule_name):
    """What decides whether a job of a rule runs again, and what starts its step."""
    file = {"settings_file": settings_file(rule_name)} if rule_name in handed_over.STEPS else {}
    return file | {
        "settings": settings_for(rule_name),
        "code": code_digest(rule_name),
        "launch": launcher_of(rule_name),
    }


def with_signature(function):
    """Write down what arguments a function takes: Snakemake looks for them twice for each job."""
    function.__signature__ = inspect.signature(function)
    return function


def settings_for(rule_name):
    """One canonical JSON of everything that a job of this rule depends on, beside its inputs."""
    return with_signature(
        lambda wildcards: canonical_json(
            jobs.tracked_settings(STUDY, rule_name, dict(wildcards.items()))
        )
    )


def settings_file(rule_name):
    """The same and the places of its inputs, as a file. Being derived, it reruns nothing."""
    return lambda wildcards, output: f"@{handed_over.settings_file(STUDY, rule_name)}"


def logs(step, place):
    """Where a job's messages and its record (time, memory, hashes) go."""
    files = files_of(Path(RESULTS), step, place)
    return {"text": str(files.log), "record": str(files.record)}


def resources_for(rule_name):
    """What a job of this rule asks of its machine; more memory and time at every new attempt."""
    return requests.resources(STUDY.cluster, rule_name)


def group_of(rule_name):
    """The jobs that a cluster gets as one; None: one by one. Without meaning on one machine."""
    return requests.group(STUDY.cluster, rule_name)


def launcher_of(rule_name):
    """What starts a step: Python, or one Python per GPU. Being derived, it reruns nothing.

    It is not derived from `resources`: for that, Snakemake works out all those of every job when it
    plans, which takes as long as the DAG itself.
    """
    asked, limit = requests.request(STUDY.cluster, rule_name).num_gpus, GPUS_AT_A_TIME
    granted = asked if limit is None else min(asked, limit)
    words = requests.launcher(rule_name, granted, STUDY.cluster.sharding)
    return with_signature(lambda wildcards, output: words)


def manifest_of(model, step):
    branched = BRANCHED if model in BRANCHES else FETCHED
    place = PRETRAINED if model in NURSERIES else branched
    return f"{RESULTS}/{place}".format(model=model, step=step)


@with_signature
def checkpoint(wildcards):
    return manifest_of(wildcards.model, wildcards.step)


def tokenizer(wildcards):
    """What the nurseries of a corpus share, or that of a fetched family's first checkpoint."""
    if wildcards.model in NURSERIES:
        return f"{RESULTS}/train_tokenizer/{STUDY.speaker(wildcards.model)}/manifest.json"
    return manifest_of(wildcards.model, STUDY.models[wildcards.model].steps[0])


@with_signature
def state(wildcards):
    """A checkpoint, with the intervention of its variant when it has one."""
    files = {"checkpoint": checkpoint(wildcards)}
    if wildcards.variant != ORIGINAL:
        files["intervention"] = f"{RESULTS}/intervene/{STATE}/intervention.safetensors".format(
            **wildcards
        )
    return files


def intervened(wildcards):
    """What an intervention rests on: a checkpoint, and what its memories do where these change."""
    files = {"checkpoint": checkpoint(wildcards)}
    if isinstance(STUDY.arms[wildcards.variant].settings, Multipliers):
        files["coefficients"] = original_coefficients(wildcards)
    return files


def optional(name):
    """The flag of an input that only some jobs of a rule have."""
    return with_signature(
        lambda wildcards, input: f"--{name} {quote(input[name])}" if name in input.keys() else ""
    )


RETENTION = {
    "retention": f"{RESULTS}/evaluate_retention/{{}}/retention.parquet",
    "answers": f"{RESULTS}/evaluate_retention/{{}}/items.parquet",
    "replicates": f"{RESULTS}/evaluate_retention/{{}}/replicates.parquet",
}
"""What is known before and after learning, by the place of a state or a run."""


def retention_at(place):
    return {name: pattern.format(place) for name, pattern in RETENTION.items()}


def retention_ahead(rule_name, place, models):
    """The flag that has a job evaluate what its model knows, for the job that is for it.

    It holds that job's command. Being derived, it reruns nothing: a job has its own settings and
    code alone. `models` gives the model's files by wildcards, or none where another job has it.
    """
    job = "evaluate_retention_after_learning" if place == RUN else "evaluate_retention"
    is_asked = STUDY.evaluate_retention and requests.does_ahead(STUDY.cluster, rule_name, job)

    def flag(wildcards, output):
        files = models(wildcards) if is_asked else {}
        if not files:
            return ""
        (sequences,) = text_of(SEQUENCES, STUDY.evaluate_retention.held_out_corpus)(wildcards)
        files |= {"sequences": sequences}
        files |= {f"output-{name}": path for name, path in retention_at(place).items()}
        files |= {"record": logs("evaluate_retention", place)["record"]}
        words = ["evaluate_retention", "--settings", settings_for("evaluate_retention")(wildcards)]
        for name, path in files.items():
            words += [f"--{name}", path.format(**wildcards)]
        return f"--then {quote(join(words))}"

    return with_signature(flag)


def weight_files(wildcards):
    """The files of a checkpoint from outside, so that a changed one is fetched again."""
    return local_weights(STUDY.models[wildcards.model].source, int(wildcards.step))


def text_files(corpus):
    """The local files that a corpus is read from."""
    source = STUDY.corpora[corpus].source
    if isinstance(source, TokenFileText) and "://" not in source.location:
        return [source.location]
    return source.paths if isinstance(source, LocalText) else []


def knowledge_files(wildcards):
    return [path for _, path in knowledge_paths(STUDY)]


PROBES = "encode_probes/{model}/probes.parquet"
DOCUMENTS = f"prepare_corpus/{PREPARATION}/documents.parquet"


def text_of(place, *corpora):
    """Corpora in the tokens of a job's model, by what lies there; the job's own when none is named.

    Models that share a tokenizer read the same files.
    """
    return with_signature(
        lambda wildcards: [
            f"{RESULTS}/{place}".format(model=STUDY.speaker(wildcards.model), corpus=corpus)
            for corpus in corpora or [wildcards.corpus]
        ]
    )


COEFFICIENTS = f"{RESULTS}/extract_coefficients/{MEASUREMENT}/coefficients.parquet"


@with_signature
def main_coefficients(wildcards):
    """Of a state, on the corpus that its model's H, interventions and updates rest on."""
    return _coefficients(wildcards, wildcards.variant)


def original_coefficients(wildcards):
    """The same of the checkpoint as it is."""
    return _coefficients(wildcards, ORIGINAL)


def _coefficients(wildcards, variant):
    return COEFFICIENTS.format(
        model=wildcards.model,
        step=wildcards.step,
        variant=variant,
        corpus=STUDY.main_corpus(wildcards.model),
    )


NOVEL_CORPORA = STUDY.evaluate_novelty.corpora if STUDY.evaluate_novelty else []
HELD_OUT = [STUDY.evaluate_retention.held_out_corpus] if STUDY.evaluate_retention else []
