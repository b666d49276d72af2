"""Every command that the documents print does what they say, as printed.

``HOW`` says of each command how it is tested, and one that has no row there fails:

- ``run``: the line is run, read from the document, on a model and text put where it names them, and
  on a hub of loopback where it names repositories (``python -m``: its words, in this process);
- ``run by test_parts``: that is where, as its results are looked at;
- ``planned``: it would take long. ``make -n`` finds what it does, and ``make plan`` with the same
  words in its place has Snakemake build the DAG, all jobs of the plan, under the same profile. The
  embedded study is run in miniature by ``test_smoke.py``, the public suites are in miniature by
  ``test_public_suites.py``, the profile of SLURM is by ``test_slurm.py``;
- ``resolved``: ``make -n`` alone; these tests are what it does.
"""

import json
import shlex

import pyarrow as pa
import pytest
import yaml
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

from ke_steps.planning.costs import costs_by_rule, jobs
from ke_steps.planning.model_sizes import UNKNOWN
from ke_steps.public.command import main
from ke_steps.study.reading import read_study
from tests.invented.documents import DOCUMENTS, blocks, commands, words
from tests.invented.gguf import write_gguf
from tests.invented.hub_client import point_client_at
from tests.invented.hub_server import HubServer, read_files
from tests.invented.measured import TEXTS, build_folder, fast_tokenizer, write_text
from tests.invented.models import build_model, random_sequences
from tests.invented.project import ROOT, Project

HOW = {
    "make report": "planned",
    "make test": "resolved",
    "make measure MODEL=path/to/model TEXT=book.txt": "run",
    "make report STUDY=config/polypythias.yaml": "planned",
    "make smollm2": "planned",
    "make plan STUDY=config/yours.yaml": "run",
    "make why STUDY=config/yours.yaml": "run",
    "make report STUDY=config/yours.yaml CORES=8": "planned",
    "make report STUDY=config/yours.yaml PROFILE=gpu": "planned",
    "make report STUDY=config/yours.yaml PROFILE=slurm": "planned",
    "make plan STUDY=config/mine.yaml": "run",
    "make report STUDY=config/mine.yaml": "run by test_parts",
    "python -m ke_steps.measure EleutherAI/pythia-14m --text book.txt more.jsonl.zst": "run",
    "python -m ke_steps.measure allenai/OLMo-1B-hf --revision 'step{step}-*'"
    " --step 369000 738020 --text book.txt --csv": "run",
}
"""How each command is tested, by its words."""

PRINTED = {shlex.join(words(line)): line for document in DOCUMENTS for line in commands(document)}
(MEASURES, TEACHES) = blocks("docs/measure.md", "python")
BRANCHES = {"step369000-tokens1548B": 1, "step738020-tokens3095B": 2}
SMOLLM2 = "STUDY=config/smollm2.yaml"
"""Of ``make smollm2``, which makes the report of this study."""


def that_are(way, program):
    """Return the commands of a program that are tested in a way, with their lines as printed."""
    return [
        pytest.param(line, id=command)
        for command, line in PRINTED.items()
        if HOW.get(command) == way and command.startswith(program)
    ]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project in which what the documents only name is there."""
    project = Project(tmp_path_factory.mktemp("documented"))
    build_folder(project.folder / "path/to/model")
    write_text(project.folder / "book.txt")
    (study,) = blocks("config/README.md", "yaml")
    for name in ("mine", "yours"):
        (project.folder / f"config/{name}.yaml").write_text(study)
    model = build_folder(project.folder / "data/my_model", max_position_embeddings=1024)
    write_text(project.folder / "data/my_text.txt")
    smollm2 = project.folder / "data/smollm2"
    smollm2.mkdir()
    write_text(smollm2 / "passages.jsonl")
    gguf = smollm2 / "SmolLM2-135M-Instruct.Q4_1.gguf"
    write_gguf(gguf, build_model("llama", tie_word_embeddings=True), model)
    return project


def num_jobs(project, name):
    """Return how many jobs a run of a study has, by the plan's own count."""
    study = read_study(yaml.safe_load((project.folder / name).read_text()), need_files=False)
    costs = costs_by_rule(jobs(study, dict.fromkeys(study.models, UNKNOWN)))
    return sum(cost.num_jobs for cost in costs.values())


def study_of(arguments):
    return dict(word.split("=", 1) for word in arguments).get("STUDY", "config/config.yaml")


def nothing_is_begun(project):
    return [path.name for path in (project.folder / "results").glob("*")] == []


def test_every_command_of_the_documents_has_a_row():
    assert set(PRINTED) == set(HOW)


@pytest.mark.parametrize("line", [*that_are("planned", "make"), *that_are("resolved", "make")])
def test_what_takes_long_is_known_to_make(project, line):
    made = project.shell(line.replace("make ", "make -n ", 1))
    assert made.returncode == 0, made.stderr
    target, *arguments = words(line)[1:]
    if target == "test":
        assert "pytest" in made.stdout
    else:
        study = study_of([SMOLLM2] if target == "smollm2" else arguments)
        assert f"ke_steps.running.run_study '{study}' -- snakemake" in made.stdout


@pytest.mark.parametrize("line", that_are("planned", "make"))
def test_what_takes_long_can_be_planned_and_its_dag_built(project, line):
    target, *arguments = words(line)[1:]
    arguments = [SMOLLM2] if target == "smollm2" else arguments
    made = project.shell(shlex.join(["make", "plan", *arguments]))
    assert made.returncode == 0, made.stdout + made.stderr
    number = num_jobs(project, study_of(arguments))
    assert f"Nothing is there yet: a run would do all {number:,} jobs." in made.stdout
    assert nothing_is_begun(project)


@pytest.mark.parametrize("line", that_are("run", "make"))
def test_make_does_as_printed(project, line):
    made = project.shell(line)
    assert made.returncode == 0, made.stdout + made.stderr
    target, *arguments = words(line)[1:]
    if target == "measure":
        first, _, *table = made.stdout.splitlines()
        assert first.startswith("path/to/model: 64 sequences of 64 tokens")
        assert [row.split()[0] for row in table] == ["layer", "0", "1", "all"]
        (block,) = (each for each in blocks("README.md") if each.startswith("path/to/model: "))
        assert table[0].split() == block.splitlines()[2].split()
    else:
        number = num_jobs(project, study_of(arguments))
        says = {"plan": f"a run would do all {number} jobs.", "why": f"{number} jobs"}
        assert says[target] in made.stdout
    assert nothing_is_begun(project)


@pytest.fixture
def here(project, tmp_path, monkeypatch):
    """The folder of the project, with a hub that has the repositories that are named."""
    pythia = read_files(build_folder(tmp_path / "pythia", "gpt_neox"))
    olmo = {
        branch: read_files(build_folder(tmp_path / branch, seed=seed))
        for branch, seed in BRANCHES.items()
    }
    monkeypatch.chdir(project.folder)
    with HubServer({"EleutherAI/pythia-14m": {"main": pythia}, "allenai/OLMo-1B-hf": olmo}) as hub:
        point_client_at(hub, tmp_path / "cache", monkeypatch)
        yield project.folder


@pytest.mark.parametrize("line", that_are("run", "python"))
def test_python_does_as_printed(here, capsys, line):
    with pa.CompressedOutputStream(here / "more.jsonl.zst", "zstd") as file:
        file.write("".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode())
    assert words(line)[:3] == ["python", "-m", "ke_steps.measure"]
    main(words(line)[3:])
    said = capsys.readouterr().out
    if "--csv" in words(line):
        names = [f"allenai/OLMo-1B-hf@{branch}" for branch in BRANCHES]
        assert list(dict.fromkeys(row.split(",")[0] for row in said.splitlines()[1:])) == names
    else:
        assert said.startswith("EleutherAI/pythia-14m@main: 64 sequences of 64 tokens")


def test_the_call_of_the_document_runs(project, monkeypatch, capsys):
    monkeypatch.chdir(project.folder)
    folder = project.folder / "path/to/model"
    names = {
        "model": AutoModelForCausalLM.from_pretrained(folder),
        "tokenizer": fast_tokenizer(folder),
        "texts": TEXTS,
    }
    exec(MEASURES, names)
    columns = [line.split("`")[1::2] for line in table_rows("docs/measure.md")]
    assert list(names["measured"].by_layer)[1:] == [name for row in columns for name in row]
    assert capsys.readouterr().out.startswith("path/to/model: ")


def table_rows(document):
    """Return the first cells of the document's table of columns."""
    text = (ROOT / document).read_text().partition("| column |")[2].partition("\n\n")[0]
    return [line.split("|")[1] for line in text.splitlines()[2:]]


def test_the_callback_of_the_document_runs(project, tmp_path, monkeypatch):
    """As many steps are trained as it waits for."""
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "held_out.txt")
    rows = [{"input_ids": row, "labels": row} for row in random_sequences(8, 8).tolist()]
    arguments = TrainingArguments(
        output_dir="run",
        max_steps=500,
        per_device_train_batch_size=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    names = {"Trainer": Trainer, "model": build_model(), "arguments": arguments, "rows": rows}
    exec(TEACHES, names | {"tokenizer": fast_tokenizer(project.folder / "path/to/model")}, names)
    history = names["trainer"].state.log_history
    (logged,) = (each for each in history if "knowledge_entropy_nats" in each)
    assert logged["step"] == 500
    text = (ROOT / "docs/measure.md").read_text().partition("the Trainer logs ")[2]
    for name in ("nats", "low", "high", "nats/layer_0", "seconds"):
        assert f"knowledge_entropy_{name}" in logged
        assert f"_{name}`" in text
