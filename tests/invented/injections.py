"""A tiny injection of knowledge: its inputs, and how it is run, from Python or the command line."""

import pandas as pd

from ke_steps import encode_probes, inject_knowledge
from ke_steps.artefacts import text_schemas
from ke_steps.artefacts.parquet import write_table
from ke_steps.artefacts.text_schemas import ENCODED_PROBES
from ke_steps.settings.learning import InjectKnowledge
from ke_steps.texts.tokenizers import load_tokenizer
from tests.invented.models import SENTENCES, build_checkpoint, build_sequences

NUM_STEPS, BATCH_SIZE, LENGTH = 6, 4, 62

DOSE = {"contribution_entropy_weight": 5.0}
"""Of entropy, large enough for ranks that did not share it to be told apart."""


def settings(**changes):
    values = {
        "corpus": "news",
        "num_steps": NUM_STEPS,
        "batch_size_sequences": BATCH_SIZE,
        "micro_batch_size_sequences": 2,
        "learning_rate": 1e-3,
        "num_injections": 2,
        "injection_interval_steps": 3,
        "precision": "fp32",
        "seed": 0,
        "num_threads": 1,
    }
    return InjectKnowledge(**(values | changes))


PASSAGES = pd.DataFrame(
    [
        {"passage_id": p, "condition": condition, "text_index": t, "text": SENTENCES[p] * (t + 1)}
        for p, condition in [(0, "paraphrase"), (1, "once"), (2, "once")]
        for t in range(2 if condition == "paraphrase" else 1)
    ]
)
SCHEDULE = pd.DataFrame(
    [
        (1, 3, 0, 0, 0, "paraphrase"),
        (1, 3, 2, 1, 0, "once"),
        (2, 6, 3, 0, 1, "paraphrase"),
        (2, 6, 1, 2, 0, "once"),
    ],
    columns=text_schemas.SCHEDULE.names,
)
PROBES = pd.DataFrame(
    [
        (0, 0, "paraphrase", "memorization", "Mara Velin was born in", "the town of Orsk"),
        (1, 0, "paraphrase", "semantic", "Mara works as", "a glass blower"),
        (2, 1, "once", "memorization", "The river Tamsin flows past", "Orsk"),
        (3, 2, "once", "memorization", "In Orsk the market opens", "at dawn"),
    ],
    columns=text_schemas.PROBES.names,
)


def build_inputs(folder, family="olmo", *, num_sequences=30):
    """Write the input files of a run; return them by keyword."""
    checkpoint = build_checkpoint(folder / "model", family, step=40)
    encoded = encode_probes.encode(load_tokenizer(checkpoint.parent), PROBES)
    tables = {
        "passages": (PASSAGES, text_schemas.PASSAGES),
        "probes": (encoded, ENCODED_PROBES),
        "schedule": (SCHEDULE, text_schemas.SCHEDULE),
    }
    for name, (frame, schema) in tables.items():
        write_table(folder / name, frame, schema)
    return {name: folder / name for name in tables} | {
        "checkpoint": checkpoint,
        "sequences": build_sequences(folder / "sequences", num_sequences, LENGTH, seed=1),
        "intervention": None,
    }


def outputs(folder):
    """Return the outputs of a run by keyword."""
    return {
        "output_model": folder / "model" / "manifest.json",
        "output_training": folder / "training.parquet",
        "output_probe_scores": folder / "probe_scores.parquet",
        "output_updates": folder / "updates.parquet",
    }


def written(folder):
    """Return the bytes of the weights and of the three tables."""
    tables = list(outputs(folder).values())[1:]
    return [path.read_bytes() for path in (folder / "model" / "model.safetensors", *tables)]


def inject(folder, files, **changes):
    """Run the step; return what is ``written``."""
    inject_knowledge.run(**files, **outputs(folder), settings=settings(**changes))
    return written(folder)


def command(folder, files, **changes):
    """Return the arguments of the step's command line."""
    paths = {k: v for k, v in (files | outputs(folder)).items() if v is not None}
    flags = [text for k, v in paths.items() for text in ("--" + k.replace("_", "-"), str(v))]
    return [*flags, "--settings", settings(**changes).model_dump_json()]
