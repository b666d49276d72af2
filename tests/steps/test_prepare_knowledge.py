"""Passages and probes, from the world and from the FICTIONAL KNOWLEDGE files."""

import json

import pytest

from ke_steps import prepare_knowledge
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.text_schemas import PASSAGES, PROBES
from ke_steps.job.errors import UserError
from ke_steps.settings.texts import PrepareKnowledge, World
from ke_steps.study.presets import FICTIONAL_KNOWLEDGE
from ke_steps.texts.world_knowledge import knowledge_passages
from tests.invented.hub_client import point_client_at
from tests.invented.hub_server import HubServer

WORLD = {"seed": 0, "num_people": 10, "num_continual_entities": 10, "num_questions": 5}
KINDS = {"memorization": "mem", "semantic": "gen", "compositional": "hard_gen"}


@pytest.fixture
def prepare(tmp_path):
    """Return a function that runs the step and returns (passages, probes) as data frames."""

    def prepare(source, num_paraphrase=1, num_once=1, world=None):
        settings = {
            "source": source,
            "num_paraphrase_passages": num_paraphrase,
            "num_once_passages": num_once,
            "world": world,
        }
        passages, probes = tmp_path / "passages.parquet", tmp_path / "probes.parquet"
        prepare_knowledge.run(
            output_passages=passages,
            output_probes=probes,
            settings=PrepareKnowledge.model_validate(settings),
        )
        return (
            read_frame(passages, PASSAGES),
            read_frame(probes, PROBES),
        )

    return prepare


def entry(number=0, **changes):
    """Return one passage as the files have it; a change to None removes the field."""
    fields = {"train_context": f"Text {number}.", "paraphrases": [f"Wording {number}."]}
    for prefix in KINDS.values():
        fields[f"{prefix}_input"] = [f"{prefix} {number} asks", f"{prefix} {number} asks also"]
        fields[f"{prefix}_target"] = ["this", "that"]
    return {key: value for key, value in (fields | changes).items() if value is not None}


@pytest.fixture
def source(tmp_path):
    """Return a function that writes the two files and returns the source that names them."""

    def source(paraphrase, once=None):
        once = once if once is not None else [entry(5), entry(6)]
        for name, content in {"paraphrase": paraphrase, "once": once}.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / f"{name}.json").write_text(text)
        return {
            "kind": "fictional_knowledge",
            "paraphrase_path": str(tmp_path / "paraphrase.json"),
            "once_path": str(tmp_path / "once.json"),
        }

    return source


def test_world_tables_hold_every_passage(prepare):
    passages, probes = prepare({"kind": "world"}, 3, 2, WORLD)
    invented = knowledge_passages(World.model_validate(WORLD), 5)
    assert passages["text"].tolist() == [text for p in invented for text in p.texts]
    assert passages["passage_id"].tolist() == [number for number in range(5) for _ in range(10)]
    assert passages["text_index"].tolist() == [*range(10)] * 5
    assert passages["condition"].tolist() == ["paraphrase"] * 30 + ["once"] * 20
    asked = [(probe.kind, probe.input, probe.target) for p in invented for probe in p.probes]
    assert list(probes[["kind", "input", "target"]].itertuples(index=False, name=None)) == asked
    assert probes["probe_id"].tolist() == [*range(75)]
    assert probes["condition"].tolist() == ["paraphrase"] * 45 + ["once"] * 30


def test_a_world_source_needs_a_world(prepare):
    with pytest.raises(UserError, match="world: missing"):
        prepare({"kind": "world"})


def test_first_passages_of_each_file(prepare, source):
    passages, probes = prepare(source([entry(0), entry(1), entry(2)]), 2, 1)
    originals = passages[passages["text_index"] == 0]
    assert originals["text"].tolist() == ["Text 0.", "Text 1.", "Text 5."]
    assert originals["condition"].tolist() == ["paraphrase", "paraphrase", "once"]
    assert probes.iloc[8].to_dict() == {
        "probe_id": 8,
        "passage_id": 1,
        "condition": "paraphrase",
        "kind": "semantic",
        "input": "gen 1 asks",
        "target": "this",
    }


def test_the_real_files(prepare, shared_data):
    folder = shared_data / "fictional_knowledge"
    names = ["paraphrase70", "once60"]
    paths = [folder / f"fictional_knowledge_paraphrased_{name}.json" for name in names]
    files = {
        "kind": "fictional_knowledge",
        "paraphrase_path": str(paths[0]),
        "once_path": str(paths[1]),
    }
    passages, probes = prepare(files, 70, 60)
    entries = [e for path in paths for e in json.loads(path.read_text(encoding="utf-8"))]
    assert passages["text"].tolist() == [
        text for e in entries for text in (e["train_context"], *e["paraphrases"])
    ]
    assert passages.groupby("condition")["passage_id"].nunique().to_dict() == {
        "once": 60,
        "paraphrase": 70,
    }
    assert len(passages) == 1300
    assert len(probes) == 1950
    for kind, prefix in KINDS.items():
        of_kind = probes[probes["kind"] == kind]
        for column in ("input", "target"):
            expected = [text for e in entries for text in e[f"{prefix}_{column}"]]
            assert of_kind[column].tolist() == expected
    assert (probes.groupby("passage_id").size() == 15).all()


def test_the_preset_is_fetched_and_equals_its_files(prepare, shared_data, tmp_path, monkeypatch):
    preset = FICTIONAL_KNOWLEDGE
    place = f"/{preset.repo}/{preset.commit}/{preset.repo_folder}"
    files = {
        f"{place}/{path.name}": path.read_bytes()
        for path in (shared_data / "fictional_knowledge").glob("*.json")
    }
    with HubServer(files=files) as server:
        point_client_at(server, tmp_path / "cache", monkeypatch)
        monkeypatch.setenv("GITHUB_RAW_ENDPOINT", server.url)
        fetched = prepare(preset.model_dump(), 70, 60)
        assert {request.path for request in server.requests} == set(files)
    folder = {"folder": str(shared_data / "fictional_knowledge")}
    for table, same in zip(fetched, prepare(preset.model_dump() | folder, 70, 60), strict=True):
        assert table.equals(same)
    assert len(fetched[0]) == 1300


REFUSED = [
    (
        [entry()] * 2,
        {"num_paraphrase": 3},
        "num_paraphrase_passages: 3 passages are asked for, but",
    ),
    ([entry()] * 2, {"num_once": 3}, "num_once_passages: 3 passages are asked for, but"),
    ("{", {}, "paraphrase.json: not a readable JSON file"),
    ("{}", {}, "paraphrase.json: not a JSON list of passages"),
    (["text"], {}, "passage 0: "),
    (
        [entry(), entry(mem_input=None)],
        {"num_paraphrase": 2},
        "passage 1: mem_input Field required",
    ),
    ([entry(paraphrases=None)], {}, "passage 0: paraphrases Field required"),
    ([entry(train_context="")], {}, "passage 0: train_context is empty"),
    ([entry(gen_target=["one"])], {}, "passage 0: gen_input has 2 entries, gen_target 1"),
    ([entry(hard_gen_target=["a", " "])], {}, "passage 0: hard_gen_target[1] is empty"),
    ([entry(mem_target=["a", 3])], {}, "passage 0: mem_target[1] Input should be a valid string"),
    ([entry(mem_input=["a ", "b"])], {}, "mem_input[0] begins or ends in white space: 'a '"),
    ([entry(mem_input=[], mem_target=[])], {}, "passage 0: mem_input "),
]


@pytest.mark.parametrize(("content", "numbers", "message"), REFUSED)
def test_bad_files_are_refused_in_one_line(prepare, source, content, numbers, message):
    with pytest.raises(UserError) as refusal:
        prepare(source(content), **numbers)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(prepare, source, tmp_path):
    files = source([entry()])
    (tmp_path / "once.json").unlink()
    with pytest.raises(UserError, match=r"once\.json: .*No such file"):
        prepare(files)
