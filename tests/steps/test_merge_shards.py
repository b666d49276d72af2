"""Jobs that share an extraction: the very numbers of one job, and which parts fit together."""

import pyarrow.parquet as pq
import pytest

from ke_steps import extract_coefficients, extract_shard, merge_shards
from ke_steps.artefacts.parquet import read_table
from ke_steps.job.command_line import main
from ke_steps.settings.measures import ExtractShardJob
from tests.invented.extraction import EVERYTHING, job, padded
from tests.invented.models import build_checkpoint, build_sequences

NAMES = ("coefficients.parquet", "token_entropies.parquet")
MANY_GROUPS = {"num_sequences": 128, "num_groups": 32, "num_attention_sequences": 64}
"""So many that a sum over them rounds by the order in which they lie in memory."""


def write(module, folder, settings, **inputs):
    """Run a step as a rule does; return the data of its two tables."""
    arguments = ["--settings", settings.model_dump_json()]
    for name, given in inputs.items():
        paths = given if isinstance(given, list) else [given]
        arguments += [f"--{name.replace('_', '-')}", *map(str, paths)]
    outputs = [folder / name for name in NAMES]
    arguments += ["--output-coefficients", str(outputs[0])]
    arguments += ["--output-token-entropies", str(outputs[1])]
    main(module.run, arguments)
    return [read_table(path).replace_schema_metadata() for path in outputs]


def extract_shards(folder, settings, **inputs):
    """Write every shard; return the paths of their tables, as ``merge`` takes them."""
    folders = [folder / f"shard{number}" for number in range(settings.num_shards)]
    for number, of_shard in enumerate(folders):
        of_job = ExtractShardJob(**settings.model_dump(), shard=number)
        write(extract_shard, of_shard, of_job, **inputs)
    return [[each / name for each in folders] for name in NAMES]


def merge(folder, settings, coefficients, token_entropies):
    return write(
        merge_shards, folder, settings, coefficients=coefficients, token_entropies=token_entropies
    )


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("olmo", {}),
        ("olmo", EVERYTHING | {"num_shards": 4}),
        ("olmo", EVERYTHING | {"num_sequences": 64, "num_attention_sequences": 60}),
        ("olmo", MANY_GROUPS),
        ("gpt2", EVERYTHING | {"num_attribution_sequences": 4, "precision": "bf16"}),
        ("mixtral", EVERYTHING | {"batch_size_sequences": 4, "num_attribution_sequences": 4}),
    ],
)
def test_shards_give_the_bits_of_one_job(tmp_path, family, changes):
    settings = job(**{"batch_size_sequences": 2, "num_shards": 2} | changes)
    lengths = [16, 3, 9, 16, 1, 12, 7, 5] * (settings.num_sequences // 8)
    inputs = {
        "checkpoint": build_checkpoint(tmp_path / family, family),
        "sequences": build_sequences(tmp_path / "ids", input_ids=padded(lengths)),
    }
    alone = write(extract_coefficients, tmp_path / "alone", settings, **inputs)
    tables = extract_shards(tmp_path, settings, **inputs)
    merged = merge(tmp_path / "merged", settings, *tables)
    for one, other in zip(alone, merged, strict=True):
        assert one.schema == other.schema
        assert one.equals(other)


@pytest.fixture
def shards(tmp_path, checkpoint, sequences):
    """Return the settings and the tables of two shards."""
    settings = job(batch_size_sequences=2, num_shards=2)
    inputs = {"checkpoint": checkpoint, "sequences": sequences}
    return settings, extract_shards(tmp_path, settings, **inputs)


def refused(tmp_path, settings, coefficients, token_entropies):
    """Return the one line with which shards are refused."""
    with pytest.raises(SystemExit) as stop:
        merge(tmp_path / "merged", settings, coefficients, token_entropies)
    assert not (tmp_path / "merged" / NAMES[0]).exists()
    line = str(stop.value.code)
    assert "\n" not in line
    return line


def test_shards_in_another_order_are_refused(tmp_path, shards):
    settings, (coefficients, entropies) = shards
    line = refused(tmp_path, settings, coefficients[::-1], entropies[::-1])
    assert f"{coefficients[1]}: not shard 0 of this extraction: shard is 1, expected 0" in line


def test_a_missing_shard_is_refused(tmp_path, shards):
    settings, (coefficients, entropies) = shards
    line = refused(tmp_path, settings, coefficients[:1], entropies)
    assert "--coefficients: 1 files for 2 shards" in line


def test_shards_of_other_settings_are_refused(tmp_path, shards):
    settings, tables = shards
    settings = settings.model_copy(update={"num_sequences": 4})
    line = refused(tmp_path, settings, *tables)
    assert "num_sequences is 8, expected 4; delete it and run again" in line


def test_a_shard_of_another_checkpoint_is_refused(tmp_path, shards, sequences):
    settings, (coefficients, entropies) = shards
    other = build_checkpoint(tmp_path / "other", seed=1)
    inputs = {"checkpoint": other, "sequences": sequences}
    others = extract_shards(tmp_path / "others", settings, **inputs)
    mixed = [coefficients[0], others[0][1]]
    line = refused(tmp_path, settings, mixed, entropies)
    assert f"{others[0][1]}: measured from another checkpoint than {coefficients[0]}" in line


def test_what_is_no_shard_is_refused(tmp_path, shards, checkpoint, sequences):
    settings, (coefficients, entropies) = shards
    inputs = {"checkpoint": checkpoint, "sequences": sequences}
    write(extract_coefficients, tmp_path / "alone", settings, **inputs)
    whole = tmp_path / "alone" / NAMES[0]
    line = refused(tmp_path, settings, [coefficients[0], whole], entropies)
    assert f"{whole}: columns are" in line
    table = pq.read_table(coefficients[1]).replace_schema_metadata()
    pq.write_table(table, whole)
    line = refused(tmp_path, settings, [coefficients[0], whole], entropies)
    assert f"{whole}: not written by extract_shard" in line


def test_the_merged_tables_name_the_devices(tmp_path, shards):
    settings, tables = shards
    merge(tmp_path / "merged", settings, *tables)
    stamp = pq.read_schema(tmp_path / "merged" / NAMES[0]).metadata[b"ke_steps"]
    assert b'"device":"' in stamp
