"""Tables of a whole study, as Parquet schemas.

Units are in the column names; entropies are in nats.
"""

from __future__ import annotations

import pyarrow as pa

from ke_steps.artefacts.learning_schemas import RETAINED
from ke_steps.artefacts.measure_schemas import MEMORIES

SUMMARY = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "is_trained": pa.bool_(),  # not what pretraining began with
        "variant": pa.string(),
        "recipe": pa.string(),  # null for what is measured before learning
        "seed": pa.int64(),  # null likewise
        "group": pa.string(),  # model | layer 3 | c4/model | paraphrase/semantic | sciq | …
        "quantity": pa.string(),
        "unit": pa.string(),
        "value": pa.float64(),  # null where it is not defined
        "low": pa.float64(),
        "high": pa.float64(),
        "num_items": pa.int64(),  # passages, items, … that were sampled; null where nothing was
    }
)

ESTIMATES = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "is_trained": pa.bool_(),
        "variant": pa.string(),
        "recipe": pa.string(),  # null for what is measured before learning
        "group": pa.string(),
        "quantity": pa.string(),
        "unit": pa.string(),
        "value": pa.float64(),  # mean over the seeds; null where it is not defined
        "low": pa.float64(),  # null where neither error is known
        "high": pa.float64(),
        "degrees_of_freedom": pa.float64(),  # of Student's t; infinite: the normal's
        "interval_kind": pa.string(),  # bootstrap over passages and seeds | seeds | … | "" for none
        "num_seeds": pa.int64(),  # null for what is measured before learning
        "num_items": pa.int64(),  # as in SUMMARY
    }
)

FAMILIES = pa.schema(
    {
        "family": pa.string(),
        "step": pa.int64(),
        "is_trained": pa.bool_(),
        "group": pa.string(),
        "quantity": pa.string(),  # one that is measured before learning
        "unit": pa.string(),
        "value": pa.float64(),  # mean over the models; null where it is not defined
        "low": pa.float64(),
        "high": pa.float64(),
        "interval_kind": pa.string(),  # bootstrap over groups of sequences and models | models
        "num_models": pa.int64(),
        "models": pa.list_(pa.string()),
        "values": pa.list_(pa.float64()),  # of these models
    }
)

PHASES = pa.schema(
    {
        "model": pa.string(),
        "family": pa.string(),  # null for none
        "recipe": pa.string(),  # null for what is measured before learning
        "quantity": pa.string(),
        "unit": pa.string(),
        "first_step": pa.int64(),  # the first trained checkpoint
        "plateau_step": pa.int64(),  # the last one before facts are recalled; null without the next
        "saturation_step": pa.int64(),  # the first with 95 % of the last one's recall; or null
        "highest_step": pa.int64(),  # where the quantity is highest; null where it never is defined
        "last_step": pa.int64(),
        "unsaturated": pa.string(),  # why there is no saturation; "" where there is
        "first": pa.float64(),  # the values at these steps; null where not measured or not defined
        "plateau": pa.float64(),
        "saturation": pa.float64(),
        "highest": pa.float64(),
        "last": pa.float64(),
        "change_before": pa.float64(),  # from plateau to saturation; null where those are one
        "change_before_low": pa.float64(),  # of this run: null where nothing was resampled
        "change_before_high": pa.float64(),
        "change_after": pa.float64(),  # from saturation to the last
        "change_after_low": pa.float64(),
        "change_after_high": pa.float64(),
    }
)

RUNS = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "variant": pa.string(),
        "recipe": pa.string(),
        "seed": pa.int64(),
        "num_steps": pa.int64(),  # optimiser steps done
        "first_loss_nats": pa.float64(),  # null where it was no finite number, likewise the last
        "last_loss_nats": pa.float64(),
        "diverged_at_step": pa.int64(),  # null for a run that did not diverge
    }
)

CORRELATIONS = pa.schema(
    {
        "model": pa.string(),
        "recipe": pa.string(),
        "x": pa.string(),
        "y": pa.string(),
        "method": pa.string(),  # pearson | spearman
        "num_points": pa.int64(),
        "value": pa.float64(),
        "p_value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
    }
)

CLAIMS = pa.schema(
    {
        "model": pa.string(),  # of a prediction, and of a claim between runs: the families
        "recipe": pa.string(),  # null for claims about entropy alone
        "variant": pa.string(),  # null for claims about the original checkpoints
        "claim": pa.string(),
        "origin": pa.string(),  # paper | beyond | prediction
        "is_primary": pa.bool_(),  # the others' p-values are adjusted for their number, apart from
        # predictions, which are neither (null) and adjusted for theirs
        "chosen_after_looking": pa.bool_(),
        "statement": pa.string(),
        "rule": pa.string(),
        "evidence": pa.string(),
        # supported | not supported | inconclusive | not tested | descriptive
        "verdict": pa.string(),
        "decided_by_step": pa.int64(),  # the one stage without which it would be another; or null
        "num_points": pa.int64(),
        "unit": pa.string(),
        "value": pa.float64(),
        "low": pa.float64(),
        "high": pa.float64(),
        "p_value": pa.float64(),
        "adjusted_p_value": pa.float64(),  # Holm's; null where nothing is corrected
    }
)

BETWEEN_RUNS = pa.schema(
    {
        "recipe": pa.string(),
        "quantity": pa.string(),  # of learning, set against entropy
        "group": pa.string(),
        "unit": pa.string(),
        "beside_loss": pa.bool_(),  # whether held-out loss is taken out as well
        "family": pa.string(),
        "model": pa.string(),
        "step": pa.int64(),
        "entropy_residual_nats": pa.float64(),  # of which the residual of the quantity is a line
        "residual": pa.float64(),
        "slope": pa.float64(),  # of that line, per nat: the same in all rows of a quantity
        "slope_low": pa.float64(),
        "slope_high": pa.float64(),
        "p_value": pa.float64(),
    }
)

FRONTIERS = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "variant": pa.string(),
        "frontier": pa.string(),  # the first of the recipes that differ in learning rate alone
        "recipe": pa.string(),
        "learning_rate": pa.float64(),
        "accuracy_after": pa.float64(),  # P: one point of the frontier with the next three and K
        "accuracy_after_low": pa.float64(),
        "accuracy_after_high": pa.float64(),
        "knowledge_after_nats": pa.float64(),
        "knowledge_after_low": pa.float64(),
        "knowledge_after_high": pa.float64(),
        "num_halves_best": pa.int64(),  # of the two halves of the passages; null with too few rates
        "num_seeds": pa.int64(),  # that have all of the rates
        "area_nats": pa.float64(),  # of the whole frontier, as all below; null with too few rates
        "area_low": pa.float64(),
        "area_high": pa.float64(),
        "reference_step": pa.int64(),  # what it is compared with; null for nothing
        "reference_variant": pa.string(),
        "matched_from": pa.float64(),  # P that both reach; null where they have none in common
        "matched_to": pa.float64(),
        "lead_nats": pa.float64(),  # by how much K is higher there, in the mean
        "lead_low": pa.float64(),
        "lead_high": pa.float64(),
        "area_lead_nats": pa.float64(),
        "area_lead_low": pa.float64(),
        "area_lead_high": pa.float64(),
    }
)

CONTESTS = pa.schema(
    {
        "recipe": pa.string(),
        "quantity": pa.string(),  # of learning, foretold of each run by the others
        "group": pa.string(),
        "unit": pa.string(),
        "predictors": pa.string(),  # family and stage | sensitivity | H | all but H | all and H | …
        "error": pa.float64(),  # root mean square over runs left out, in the quantity's unit
        "num_runs": pa.int64(),
        "num_stages": pa.int64(),
    }
)

ENTROPY_ALONE = "entropy alone"
"""The effect of a gauge of which learning knows: in EFFECTS."""

EFFECTS = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "frontier": pa.string(),  # the first of recipes that differ in learning rate alone, or null
        "recipe": pa.string(),  # null for the mean over those
        # function | gauge | interaction | permuted | top | noise | entropy alone
        "effect": pa.string(),
        # of a control: what it controls; of entropy alone: the gauge; else the resuscitation
        "variant": pa.string(),
        "quantity": pa.string(),
        "group": pa.string(),
        "unit": pa.string(),
        "value": pa.float64(),  # of a control: of the variant less it, or less the mean of draws
        "low": pa.float64(),  # null where no error is known, such as of one draw
        "high": pa.float64(),
        "num_recipes": pa.int64(),  # by which all that is compared learned
        "num_seeds": pa.int64(),
        "num_draws": pa.int64(),  # of a control, else null
        "num_beaten": pa.int64(),  # of these: the variant is better with the whole interval
    }
)

DOWNSTREAM = pa.schema(
    {
        "model": pa.string(),
        "recipe": pa.string(),
        "step": pa.int64(),
        "variant": pa.string(),  # compared with the original of the same step
        "change": pa.float64(),  # of P after learning, as a fraction; over the seeds of both
        "change_low": pa.float64(),
        "change_high": pa.float64(),
        "relative": pa.float64(),  # the change over the original's P after learning
        "relative_low": pa.float64(),
        "relative_high": pa.float64(),
        "interval_kind": pa.string(),
        "num_seeds": pa.int64(),
        "num_items": pa.int64(),
    }
)

DOSES = pa.schema(
    {
        "model": pa.string(),
        "recipe": pa.string(),
        "reference": pa.string(),  # the recipe with the smallest dose, alike in all else
        "weight": pa.float64(),  # contribution_entropy_weight of the recipe
        "reference_weight": pa.float64(),
        "step": pa.int64(),
        "variant": pa.string(),
        "quantity": pa.string(),
        "group": pa.string(),
        "unit": pa.string(),  # of the change
        "change": pa.float64(),  # recipe less reference, over the seeds of both
        "low": pa.float64(),  # null where neither error is known
        "high": pa.float64(),
        "interval_kind": pa.string(),
        "num_seeds": pa.int64(),
    }
)

WARNINGS = pa.schema(
    {
        "model": pa.string(),
        "subject": pa.string(),  # what it is about, in a word or two
        "warning": pa.string(),  # one sentence
    }
)

CURVES = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "is_trained": pa.bool_(),
        "variant": pa.string(),
        "recipe": pa.string(),
        "seed": pa.int64(),
        "moment": pa.string(),
        "train_step": pa.int32(),
        "condition": pa.string(),
        "performance": pa.float64(),
    }
)

DISTRIBUTIONS = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "variant": pa.string(),
        "layer": pa.int32(),
        "quantile": pa.float64(),
        "relative_activity": pa.float64(),  # mean |c| over the layer's mean of it; null for 0 / 0
    }
)

CHECKPOINTS = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "source": pa.string(),  # branch | directory | gguf | hub | nursery
        "place": pa.string(),  # path, or repository@commit
        "architecture": pa.string(),
        "num_layers": pa.int32(),
        "num_memories": pa.int64(),
        "num_parameters": pa.int64(),
        "weights_sha256": pa.string(),  # over names, shapes and fp32 values of all parameters
        "same_weights_model": pa.string(),  # of the first other with equal weights; null for none
        "same_weights_as": pa.int64(),  # its step
    }
)

MEMORY_TABLE = pa.schema([pa.field("model", pa.string()), pa.field("step", pa.int64()), *MEMORIES])

RANKINGS = pa.schema(
    {
        "model": pa.string(),
        "step_from": pa.int64(),
        "step_to": pa.int64(),
        "layer": pa.int32(),  # null: mean over layers
        "spearman": pa.float64(),  # between the rankings by mean |c|; null where there is none
        "most_active_kept": pa.float64(),  # share of the most active set still in it
        "least_active_kept": pa.float64(),
    }
)

MEMORY_RANKS = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "is_trained": pa.bool_(),
        "layer": pa.int32(),
        "memory": pa.int32(),
        "rank": pa.int32(),  # 1 has the highest mean |c| of all in the layer; null where all equal
        "relative_activity": pa.float64(),  # as in DISTRIBUTIONS
    }
)

NOVELTY_QUANTILES = pa.schema(
    {
        "model": pa.string(),
        "step": pa.int64(),
        "corpus": pa.string(),
        "quantile": pa.float64(),
        "perplexity": pa.float64(),
    }
)

RETAINED_CURVES = pa.schema(
    [
        pa.field("model", pa.string()),
        pa.field("step", pa.int64()),
        pa.field("is_trained", pa.bool_()),
        pa.field("variant", pa.string()),
        pa.field("recipe", pa.string()),
        pa.field("seed", pa.int64()),
        *RETAINED,
    ]
)
