"""What a training run says of itself: a row per step, a progress bar, and divergence by name."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ke_steps._errors import UserError


class StepLog(TrainerCallback):
    """Collects one row per step, shows progress, and passes on the end of every step."""

    def __init__(
        self,
        num_steps: int,
        num_injected: Mapping[int, int],
        after_step: Callable[[int], None],
    ) -> None:
        """Prepare for a run of which step s has ``num_injected[s]`` injected sequences."""
        self.rows: list[dict[str, Any]] = []
        self._num_injected = num_injected
        self._after_step = after_step
        self._bar = tqdm(total=num_steps, desc="training", file=sys.stderr)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float],
        **kwargs: Any,
    ) -> None:
        """Keep the numbers of the step just done, and refuse to go on without any."""
        if "grad_norm" not in logs:  # the summary at the end
            self._bar.close()
            return
        row = {
            "train_step": state.global_step,
            "loss_nats": logs["loss"],
            "learning_rate": logs["learning_rate"],
            "gradient_norm": logs["grad_norm"],
            "num_injected_sequences": self._num_injected.get(state.global_step, 0),
        }
        if not (math.isfinite(row["loss_nats"]) and math.isfinite(row["gradient_norm"])):
            raise UserError(
                f"training diverged at step {state.global_step}: loss {row['loss_nats']},"
                f" gradient norm {row['gradient_norm']}; lower the learning_rate"
            )
        self.rows.append(row)
        self._bar.update()
        self._bar.set_postfix(loss=f"{row['loss_nats']:.3f}", refresh=False)
        self._after_step(state.global_step)
