"""A temperature over a training: which steps have which, what is left, what AdamW makes of it."""

import copy

import pytest
import torch

from ke_steps import inject_knowledge
from ke_steps.artefacts.interventions import write_intervention
from ke_steps.artefacts.parquet import read_frame
from ke_steps.checkpoints.checkpoint_files import read_checkpoint_manifest
from ke_steps.models.loading import load_model
from ke_steps.models.temperature import temperature_of
from ke_steps.scoring.probes import score_probes
from ke_steps.training.batches import TrainingSequences
from ke_steps.training.tempering import Course, course_of
from ke_steps.training.train import train
from ke_steps.training.trainer import EPSILON
from tests.invented.injections import build_inputs, inject
from tests.invented.models import HIDDEN_SIZE, build_checkpoint, random_sequences
from tests.invented.training import CPU, LENGTH, TOKENIZER, optimisation

HEAD_DIM = HIDDEN_SIZE // 4


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return build_inputs(tmp_path_factory.mktemp("inputs"))


def tempered(folder, temperature, course):
    path = folder / "intervention.safetensors"
    end = temperature if course == "constant" else 1.0
    write_intervention(path, {"attention_temperature": [temperature, end]})
    return path


@pytest.fixture
def seen(monkeypatch):
    """Return (is trained, temperature) of every forward pass of the models that are loaded."""
    passes = []

    def loading(*arguments, **keywords):
        model = load_model(*arguments, **keywords)
        attention = model.model.layers[0].self_attn

        def look(module, given):
            scaling = attention.scaling
            passes.append((model.training, HEAD_DIM**-0.5 / scaling))

        model.model.register_forward_pre_hook(look)
        return model

    monkeypatch.setattr(inject_knowledge, "load_model", loading)
    return passes


def test_a_course_by_hand():
    course = Course(4.0, 1.0)
    assert [course.after(step, 6) for step in range(7)] == [4.0, 3.5, 3.0, 2.5, 2.0, 1.5, 1.0]
    assert Course(0.25, 1.0).after(1, 3) == 0.5
    assert {Course(1.6, 1.6).after(step, 7) for step in range(8)} == {1.6}


def test_a_course_is_that_of_the_intervention(tmp_path):
    assert course_of(None) is None
    assert course_of(tempered(tmp_path, 1.6, "decaying")) == (1.6, 1.0)
    assert course_of(tempered(tmp_path, 1.6, "constant")) == (1.6, 1.6)
    write_intervention(tmp_path / "queries", {"query_rows": 0.5})
    assert course_of(tmp_path / "queries") is None


def test_micro_batches_of_a_step_share_its_temperature_and_probes_have_it(files, tmp_path, seen):
    inject(tmp_path, files | {"intervention": tempered(tmp_path, 4.0, "decaying")})
    trained = [temperature for is_trained, temperature in seen if is_trained]
    assert trained == pytest.approx([x for t in (3.5, 3, 2.5, 2, 1.5, 1) for x in (t, t)])
    # start, before and after injections at steps 3 and 6, end
    probed = [temperature for is_trained, temperature in seen if not is_trained]
    assert list(dict.fromkeys(round(t, 6) for t in probed)) == [4.0, 3.0, 2.5, 1.5, 1.0]


@pytest.mark.parametrize(("course", "end"), [("decaying", 1.0), ("constant", 4.0)])
def test_what_is_left_has_the_temperature_at_the_end(files, tmp_path, course, end):
    intervention = tempered(tmp_path, 4.0, course)
    inject(tmp_path, files | {"intervention": intervention})
    manifest = tmp_path / "model" / "manifest.json"
    assert read_checkpoint_manifest(manifest)["source"]["attention_temperature"] == end
    left = load_model(manifest, device=CPU)
    assert temperature_of(left) == end
    probes = read_frame(files["probes"])
    scores = read_frame(tmp_path / "probe_scores.parquet")
    for moment, model in [
        ("start", load_model(files["checkpoint"], intervention=intervention, device=CPU)),
        ("end", left),
    ]:
        found = score_probes(model, probes, precision="fp32")["log_probability_sum"]
        written = scores[scores["moment"] == moment]["log_probability_sum"]
        assert found.tolist() == pytest.approx(written.tolist(), rel=1e-6)


def test_a_course_of_temperatures_is_another_training(files, tmp_path):
    runs = {}
    for course in ("decaying", "constant"):
        folder = tmp_path / course
        folder.mkdir()
        runs[course] = inject(folder, files | {"intervention": tempered(folder, 4.0, course)})
    assert runs["decaying"] != runs["constant"]


def test_a_diverged_run_keeps_the_temperature_of_its_last_finite_step(files, tmp_path):
    intervention = tempered(tmp_path, 4.0, "decaying")
    inject(tmp_path, files | {"intervention": intervention}, learning_rate=1e30)
    source = read_checkpoint_manifest(tmp_path / "model" / "manifest.json")["source"]
    assert source["diverged_at_step"] == 2
    assert source["attention_temperature"] == 3.5
    left = load_model(tmp_path / "model" / "manifest.json", device=CPU)
    assert temperature_of(left) == 3.5


def test_one_step_of_adamw_moves_rescaled_queries_as_far_and_so_further_in_proportion(tmp_path):
    """Both kinds against the first step of AdamW by hand, from one gradient."""
    temperature, rate, decay = 4.0, 1e-3, 0.1
    checkpoint = build_checkpoint(tmp_path / "model")
    interventions = {"temper": tempered(tmp_path, temperature, "constant")}
    interventions["rescale"] = tmp_path / "queries.safetensors"
    write_intervention(interventions["rescale"], {"query_rows": 1 / temperature})
    tokens = random_sequences(4, LENGTH)
    plan = optimisation(
        num_steps=1, warmup_fraction=0.0, min_learning_rate_ratio=1.0, learning_rate=rate,
        weight_decay=decay, max_gradient_norm=1e9,
    )  # fmt: skip

    def queries(model):
        return model.model.layers[1].self_attn.q_proj.weight

    starts, moved = {}, {}
    for kind, path in interventions.items():
        model = load_model(checkpoint, intervention=path, device=CPU)
        starts[kind] = copy.deepcopy(model)
        trained = train(
            lambda *_, model=model: model, TrainingSequences(tokens, 4), plan,
            tokenizer=TOKENIZER, device=CPU, course=course_of(path),
        )  # fmt: skip
        moved[kind] = (queries(trained.model) - queries(starts[kind])).detach().double()
    ids = torch.from_numpy(tokens).long()
    starts["temper"](input_ids=ids, labels=ids).loss.backward()
    gradient, weight = (
        x.double() for x in (queries(starts["temper"]).grad, queries(starts["temper"]))
    )
    for kind, factor in (("temper", 1.0), ("rescale", temperature)):
        steeper = factor * gradient  # the loss of weights W / T
        expected = -rate * steeper / (steeper.abs() + EPSILON) - rate * decay * weight / factor
        torch.testing.assert_close(moved[kind], expected.detach(), rtol=1e-2, atol=2e-6)
    # in proportion to the weights: the adaptive part is T times as large
    shares = {kind: (moved[kind].norm() / queries(starts[kind]).norm()).item() for kind in moved}
    assert shares["rescale"] / shares["temper"] == pytest.approx(temperature, rel=0.1)
