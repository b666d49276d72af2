r"""What a model still knows: accuracy on tasks, and bits per token on held-out text.

Reads a checkpoint (and the intervention of a variant) and the packed sequences of the held-out
corpus. Writes

- the retention table: per task its ``accuracy``, and ``chance``, that of who guesses; task
  ``mean``: the means over tasks, P (FACTS, section 3) and its chance; task ``held_out``, quantity
  ``bits_per_token``: mean over sequences of the mean next-token loss in bits. Intervals are
  bootstraps over items, for P within each task, and over sequences;
- the items table: per question its label and the model's prediction;
- the bootstrap replicates of all values (``artefacts.replicates``).

Where a lower precision than fp32 is asked for, ``compare_with_fp32`` scores a sample in fp32, too;
how much the two differ stands in the tables' provenance. Forgetting F compares two such tables
(``ratios.forgetting``).

    python -m ke_steps.evaluate_retention --checkpoint …/manifest.json \
        --sequences results/prepare_corpus/held_out/sequences.parquet \
        --output-retention …/retention.parquet --output-answers …/items.parquet \
        --output-replicates …/replicates.parquet --settings '{…}'
"""

from __future__ import annotations

from pathlib import Path

from ke_steps.job.command_line import main
from ke_steps.settings.learning import EvaluateRetentionJob


def run(
    *,
    checkpoint: Path,
    intervention: Path | None,
    sequences: Path,
    output_retention: Path,
    output_answers: Path,
    output_replicates: Path,
    settings: EvaluateRetentionJob,
) -> None:
    """Evaluate one model on every configured task and on the held-out sequences."""
    # loads torch, which takes seconds; what was done ahead is there without
    from ke_steps.scoring.evaluation import evaluate

    evaluate(
        checkpoint=checkpoint,
        intervention=intervention,
        sequences=sequences,
        output_retention=output_retention,
        output_answers=output_answers,
        output_replicates=output_replicates,
        settings=settings,
    )


if __name__ == "__main__":
    main(run)
