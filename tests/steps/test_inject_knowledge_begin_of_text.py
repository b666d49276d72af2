"""A run's first loss with injected texts is that of texts that begin and end as documents do."""

import pandas as pd
import pytest
import torch

from ke_steps import encode_probes
from ke_steps.artefacts import text_schemas
from ke_steps.artefacts.parquet import read_frame, write_table
from ke_steps.checkpoints.checkpoint_files import save_checkpoint
from ke_steps.models.feed_forward import describe_model
from ke_steps.texts.tokenizers import load_tokenizer
from tests.invented.command_line import call, provenance_of
from tests.invented.injections import settings
from tests.invented.models import build_model, build_sequences, random_sequences
from tests.invented.tokenizers import BOS_ID, EOS_ID, MARK_A, MARK_B, MARK_C, lettered

LENGTH = 12
PASSAGES = [(0, "once", 0, "a b c"), (1, "once", 0, "c")]
SCHEDULE = [(1, 1, 0, 0, 0, "once"), (1, 1, 1, 1, 0, "once")]
PROBES = [(0, 0, "once", "semantic", "a b", "c")]


@pytest.fixture
def files(tmp_path):
    """Write the inputs of a run of one step, whose batch has a text in both rows."""
    model = build_model("llama", bos_token_id=BOS_ID, eos_token_id=EOS_ID)
    tokenizer = lettered(tmp_path / "tokenizer")
    checkpoint = tmp_path / "model" / "manifest.json"
    source = {"kind": "random"}
    save_checkpoint(
        model, tokenizer, checkpoint, step=0, source=source, sizes=describe_model(model)
    )
    probes = pd.DataFrame(PROBES, columns=text_schemas.PROBES.names)
    tables = {
        "passages": (pd.DataFrame(PASSAGES, columns=text_schemas.PASSAGES.names), "PASSAGES"),
        "schedule": (pd.DataFrame(SCHEDULE, columns=text_schemas.SCHEDULE.names), "SCHEDULE"),
        "probes": (encode_probes.encode(load_tokenizer(tokenizer), probes), "ENCODED_PROBES"),
    }
    for name, (frame, schema) in tables.items():
        write_table(tmp_path / name, frame, getattr(text_schemas, schema))
    sequences = build_sequences(tmp_path / "sequences", 2, LENGTH)
    inputs = {name: tmp_path / name for name in tables}
    return model, inputs | {"checkpoint": checkpoint, "sequences": sequences}


@pytest.mark.parametrize(
    ("setting", "begin", "noted"), [("tokenizer", [BOS_ID], "<s>"), ("never", [], "none")]
)
@torch.no_grad()
def test_the_first_loss_is_that_of_the_texts_so_begun_and_ended(
    tmp_path, files, setting, begin, noted
):
    model, inputs = files
    recipe = settings(
        num_steps=1,
        num_injections=1,
        injection_interval_steps=1,
        batch_size_sequences=2,
        begin_of_text=setting,
    )
    outputs = ["training", "probe_scores", "updates"]
    paths = {f"output_{name}": tmp_path / f"{name}.parquet" for name in outputs}
    with torch.enable_grad():
        line = call(
            "inject_knowledge",
            recipe.model_dump(mode="json"),
            **inputs,
            output_model=tmp_path / "trained" / "manifest.json",
            **paths,
        )
    assert line is None
    exact, losses = model.double(), []
    for text, sequence in zip(
        [[MARK_A, MARK_B, MARK_C], [MARK_C]], random_sequences(2, LENGTH), strict=True
    ):
        ids = torch.tensor([[*begin, *text, EOS_ID, *sequence.tolist()][:LENGTH]])
        logs = exact(ids).logits[0, :-1].log_softmax(-1).gather(-1, ids[0, 1:, None])
        losses.append(-logs.mean().item())
    (loss,) = read_frame(paths["output_training"])["loss_nats"]
    assert loss == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert provenance_of(paths["output_training"])["begin_of_text"] == noted
