"""A study with every section, the same with one key changed, and the jobs of the smoke study."""

import copy

import yaml

from tests.invented.project import ROOT

WHOLE = yaml.safe_load((ROOT / "tests/invented/every_section.yaml").read_text())

REMOVE = "(removed)"

NUM_JOBS = {
    "train_tokenizer": 1,
    "prepare_corpus": 2,
    "prepare_knowledge": 1,
    "encode_probes": 1,
    "schedule_injections": 4,
    "pretrain_nursery": 1,
    "keep_checkpoint": 2,
    "extract_coefficients": 8,
    "aggregate_entropy": 8,
    "describe_memories": 2,
    "measure_rivals": 2,
    "evaluate_novelty": 1,
    "intervene": 4,
    "inject_knowledge": 10,
    "evaluate_knowledge": 10,
    "fit_decay": 2,
    "aggregate_updates": 10,
    "evaluate_retention": 6,
    "evaluate_retention_after_learning": 10,
    "summarize": 1,
    "plot_figures": 1,
    "write_report": 1,
}
"""The jobs of the smoke study, by rule."""


def changed(path: str, value: object) -> dict:
    """The study with one key set (or removed)."""
    study = copy.deepcopy(WHOLE)
    *parents, last = path.split("/")
    node = study
    for key in parents:
        node = node[key]
    if value is REMOVE:
        del node[last]
    else:
        node[last] = value
    return study
