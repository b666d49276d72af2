"""Studies that are refused by ``make report`` before anything runs or is written.

Many more faults of keys and values are in ``test_reading.py``; here they go through commands.
"""

import copy
import json
import shutil
import subprocess
import sys

import pytest
import yaml

from ke_steps.planning import plan, why
from ke_steps.running import run_study
from tests.invented.command_line import tree
from tests.invented.configs import WHOLE, changed
from tests.invented.models import build_model, build_tokenizer
from tests.invented.project import ROOT

NURSERY = {"source": {"kind": "nursery"}, "steps": [0]}
WAKE = {"kind": "resuscitate", "quantile": 0.5, "boost": 1.0}
RECIPE = WHOLE["recipes"]["baseline"]
NAMES = "should be a letter or digit, then letters, digits, '.', '_' and '-'"


def named(section, name, entry):
    """The whole study with one more entry under a name."""
    study = copy.deepcopy(WHOLE)
    study.setdefault(section, {})[name] = entry
    return study


BAD = {
    # what is wrong: (the study or the file's text, what a line says)
    "name: a slash": (named("models", "a/b", NURSERY), f"models.a/b: got 'a/b'; {NAMES}"),
    "name: leads upwards": (named("recipes", "..", RECIPE), f"recipes...: got '..'; {NAMES}"),
    "name: a space": (named("variants", "a b", WAKE), f"variants.a b: got 'a b'; {NAMES}"),
    "name: a quote": (named("variants", "a'b", WAKE), f"variants.a'b: got \"a'b\"; {NAMES}"),
    "name: double quotes": (named("variants", 'a"b', WAKE), f"variants.a\"b: got 'a\"b'; {NAMES}"),
    "name: a command": (named("recipes", "$(touch ran)", RECIPE), f"got '$(touch ran)'; {NAMES}"),
    "name: backticks": (named("variants", "`touch ran`", WAKE), f"got '`touch ran`'; {NAMES}"),
    "name: a semicolon": (named("variants", "a;touch ran", WAKE), NAMES),
    "name: Unicode": (named("variants", "réveil", WAKE), f"got 'réveil'; {NAMES}"),
    "name: full-width digits": (named("variants", "５", WAKE), f"got '５'; {NAMES}"),
    "name: a wildcard": (named("variants", "{model}", WAKE), f"got '{{model}}'; {NAMES}"),
    "name: an option": (named("variants", "-rf", WAKE), f"got '-rf'; {NAMES}"),
    "name: a line break": (named("variants", "a\n", WAKE), rf"variants.'a\n': got 'a\n'; {NAMES}"),
    "name: empty": (named("variants", "", WAKE), f"got ''; {NAMES}"),
    "name: too long": (named("variants", "x" * 65, WAKE), "at most 64 characters"),
    "name: a number": (named("variants", 5, WAKE), "variants[5]: got 5; should be a valid string"),
    "name: like a step": (named("models", "step7", NURSERY), "is how results name a step"),
    "results: upwards": (changed("results_dir", "a/../../b"), "results_dir: must not contain '..'"),
    "results: the root": (changed("results_dir", "/"), "results_dir: must be a folder of its own"),
    "results: here": (changed("results_dir", "./"), "results_dir: must be a folder of its own"),
    "results: an option": (changed("results_dir", "-rf"), "results_dir: got '-rf'; should be"),
    "results: a command": (changed("results_dir", "$(id)"), "results_dir: got '$(id)'; should be"),
    "results: a space": (changed("results_dir", "my results"), "results_dir: got 'my results'"),
    "seeds: too large": (changed("seeds", [2**32]), "seeds[0]: got 4294967296; should be less"),
    "seeds: one number": (changed("seeds", 0), "seeds: got 0; should be a valid list"),
    "models: a list": (changed("models", [NURSERY]), "models: got [{"),
    "models: null": (changed("models/nursery", None), "models.nursery: got None"),
    "steps: text": (changed("models/nursery/steps", "all"), "models.nursery.steps: got 'all'"),
    "steps: beyond the run": (changed("models/nursery/steps", [0, 10**6]), "num_steps 400"),
    "variant: of no step": (changed("variants/boost_p50_q2/steps", [7]), "no model has step 7"),
    "recipe: of no variant": (changed("recipes/baseline/variants", ["q"]), "no variant 'q'"),
    "recipe: of nothing": (changed("recipes/baseline/models", []), "leave nothing to run it on"),
    "injections: beyond the run": (
        changed("recipes/baseline/num_injections", 21),
        "injection 21 falls on step 63, beyond num_steps 60",
    ),
    "a sequence beyond the positions": (
        changed("corpora/held_out/sequence_length_tokens", 129),
        "corpora.held_out.sequence_length_tokens: 129 exceeds the 128 positions",
    ),
    "a path with a line break": (
        changed("corpora/continual/source", {"kind": "text", "paths": ["a\nb.txt"]}),
        "corpora.continual.source.paths[0]: must not hold line breaks",
    ),
    "a repo that leads upwards": (
        named(
            "models",
            "o",
            {"source": {"kind": "hub", "repo": "../x", "revision": "v"}, "steps": [1]},
        ),
        "models.o.source.repo: got '../x'",
    ),
    "file: empty": ("", "got None, not keys and values"),
    "file: a list": ("- models", "got ['models'], not keys and values"),
    "file: no YAML": ("models: [", "no YAML: while parsing"),
    "file: a tab": ("models:\n\tx: 1", "no YAML: while scanning"),
    "file: builds an object": (
        "models: !!python/object/apply:os.system ['touch ran']",
        "no YAML: could not determine a constructor",
    ),
    "file: not UTF-8": (b"models: \xff", "not UTF-8 text, byte 8 is no character"),
}


@pytest.fixture
def refuse(tmp_path, monkeypatch, capfd):
    """Return a function that runs a study, which must be refused; it returns the lines."""
    monkeypatch.chdir(tmp_path)

    def refuse(study):
        text = study if isinstance(study, str | bytes) else yaml.safe_dump(study)
        content = text.encode() if isinstance(text, str) else text
        (tmp_path / "study.yaml").write_bytes(content)
        before = tree(tmp_path)
        with pytest.raises(SystemExit) as end:
            run_study.main(["study.yaml", "--", "touch", "ran"])
        assert isinstance(end.value.code, str)  # with which Python exits 1
        assert tree(tmp_path) == before
        assert not (tmp_path / "results").exists()
        assert "Traceback" not in capfd.readouterr().err
        return end.value.code.splitlines()

    return refuse


@pytest.mark.parametrize("what", BAD)
def test_a_bad_study_is_refused(refuse, what):
    study, says = BAD[what]
    lines = refuse(study)
    assert any(says in line for line in lines), lines


COMMANDS = {
    "report": lambda study: run_study.main([study, "--", "touch", "ran"]),
    "plan": lambda study: plan.main([study, "--", "touch", "ran"]),
    "why": lambda study: why.main([study, "--", "touch", "ran"]),
}


@pytest.mark.parametrize("what", ["recipe: of no variant", "seeds: too large", "file: empty", None])
def test_every_command_refuses_in_the_same_words(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    if what:
        study, _ = BAD[what]
        text = study if isinstance(study, str) else yaml.safe_dump(study)
        (tmp_path / "study.yaml").write_text(text)
    before = tree(tmp_path)
    said = set()
    for main in COMMANDS.values():
        with pytest.raises(SystemExit) as end:
            main("study.yaml")
        said.add(str(end.value))
    assert len(said) == 1
    if not what:
        assert said == {"study.yaml: no such file; studies are in config/"}
    assert tree(tmp_path) == before


def with_local(place, **corpus):
    """The whole study with a model from a folder beside it."""
    study = named("models", "local", {"source": {"kind": "directory", "path": place}, "steps": [3]})
    study["corpora"]["held_out"] |= corpus
    return study


@pytest.fixture
def model(tmp_path):
    """A folder ``model/step3`` beside the study."""
    folder = tmp_path / "model/step3"
    build_model("llama", max_position_embeddings=128).save_pretrained(folder)
    return build_tokenizer(folder)


KEY = "models.local.source.path: "


def test_a_sound_model_is_not_refused_for_itself(refuse, model):
    lines = refuse(with_local("model/step{step}") | {"seeds": 0})
    assert lines == ["seeds: got 0; should be a valid list"]


def test_a_step_that_is_not_there_is_refused(refuse, model):
    (model).rename(model.with_name("step4"))
    assert refuse(with_local("model/step{step}")) == [
        f"{KEY}no such file or directory: model/step3"
    ]


def test_pickled_weights_that_are_read_are_not_refused(refuse, model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    lines = refuse(with_local("model/step{step}") | {"seeds": 0})
    assert lines == ["seeds: got 0; should be a valid list"]


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "last.ckpt", "model.pkl", "model.bin"])
def test_other_pickles_are_refused(refuse, model, name):
    (model / "model.safetensors").rename(model / name)
    (line,) = refuse(with_local("model/step{step}"))
    assert line.startswith(f"{KEY}model/step3: {name} is a pickle, which can run code")


def test_pickled_shards_without_their_index_are_refused(refuse, model):
    (model / "model.safetensors").rename(model / "pytorch_model-00001-of-00002.bin")
    (line,) = refuse(with_local("model/step{step}"))
    assert line.startswith(
        f"{KEY}model/step3: pytorch_model.bin.index.json, which names its shards"
    )


def test_a_file_in_place_of_a_folder_is_refused(refuse, model):
    (line,) = refuse(with_local("model/step3/model.safetensors"))
    assert line.startswith(f"{KEY}no directory: model/step3/model.safetensors")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "config.json: not a readable model config"),
        ('{"architectures": ["XForCausalLM"]}', "architecture 'XForCausalLM' is unknown"),
    ],
)
def test_an_unknown_model_is_refused(refuse, model, content, says):
    (model / "config.json").write_text(content)
    (line,) = refuse(with_local("model/step{step}"))
    assert line.startswith(KEY)
    assert says in line


def test_sequences_beyond_a_local_models_positions_are_refused(refuse, model):
    config = json.loads((model / "config.json").read_text()) | {"max_position_embeddings": 127}
    (model / "config.json").write_text(json.dumps(config))
    lines = refuse(with_local("model/step{step}"))
    assert (
        "corpora.held_out.sequence_length_tokens: 128 exceeds the 127 positions of models.local"
        " (model/step3)"
    ) in lines


@pytest.mark.parametrize("what", ["name: a command", "injections: beyond the run"])
def test_snakemake_itself_refuses_it_too(tmp_path, what):
    study, says = BAD[what]
    for name in ("Snakefile", "workflow", "ke_steps"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    command = [shutil.which("snakemake") or "", "--dry-run", "--configfile", "study.yaml"]
    ended = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 1
    said = ended.stdout + ended.stderr
    assert "the study's config is wrong" in said
    assert says in said
    assert "Traceback" not in said
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "ran").exists()


def test_the_command_itself_ends_with_status_1(tmp_path):
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(changed("seeds", [])))
    command = [sys.executable, "-m", "ke_steps.running.run_study", str(tmp_path / "study.yaml")]
    ended = subprocess.run(
        [*command, "--", "touch", f"{tmp_path}/ran"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("seeds: got []")
    assert not (tmp_path / "ran").exists()
