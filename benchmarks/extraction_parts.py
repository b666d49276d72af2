"""What each part of an extraction costs that a study can ask for, beside the bare forward pass.

On a random model of OLMo-1B's proportions prints, for each precision, the time per token of the
four moments alone, with groups, with the relu gate, with the entropies of attention and of the next
token, of the second pass that attribution takes, and of all together as config/olmo_1b.yaml has
them: attribution of a quarter of the sequences, the rest of all.

``--scale`` shrinks width, memories, heads and vocabulary alike; with sequences shorter in the same
proportion, attention keeps its share too. Versions run interleaved in one process.

Example::

    python -m benchmarks.extraction_parts --scale 0.25 --num-repeats 7
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from benchmarks.comparison import Measurement, interleave, ratios, told, with_torch_defaults
from benchmarks.extraction import add_extraction_options, extraction, random_sequences, split
from benchmarks.extraction_peers import bare
from benchmarks.machine import DTYPES, add_options, clock_of, olmo_config, prepare, random_model
from ke_steps.measuring.attributions import measure_attributions
from ke_steps.measuring.instances import gather_instances


def main() -> None:
    """Run the benchmark and print a table for each precision."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.extraction_parts", description=__doc__
    )
    add_options(parser, scale=0.25, num_repeats=7)
    add_extraction_options(parser, num_sequences=4, length_tokens=512)
    options = parser.parse_args()
    device = prepare(options)
    config = olmo_config(options)
    input_ids = random_sequences(config, options)
    for precision in options.precisions:
        model = random_model(config, device, DTYPES[precision])
        measurements = build_measurements(model, input_ids, options)
        for measure in measurements.values():
            measure()
        seconds = interleave(measurements, options.num_repeats, device, clock=clock_of(options))
        print_table(precision, seconds, input_ids)


def build_measurements(
    model: PreTrainedModel, input_ids: NDArray[np.int32], options: argparse.Namespace
) -> dict[str, Measurement]:
    """Return the bare forward pass and every part, by what the table calls it."""
    number = len(input_ids)
    parts: dict[str, dict[str, Any]] = {
        "groups": {"num_groups": number},
        "relu gate": {"relu_gate": True},
        "attention entropies": {"num_attention_sequences": number},
        "next-token entropies": {"num_next_token_sequences": number},
    }
    together = {key: value for asked in parts.values() for key, value in asked.items()}
    in_one_pass = extraction(model, input_ids, options, **together)
    of_a_quarter = attribution(model, input_ids[: max(1, number // 4)], options)

    def everything() -> NDArray[np.float64]:
        of_a_quarter()
        return in_one_pass()

    return {
        "bare forward": with_torch_defaults(bare(model, split(model, input_ids, options))),
        "coefficients": extraction(model, input_ids, options),
        **{
            f"coefficients, {name}": extraction(model, input_ids, options, **asked)
            for name, asked in parts.items()
        },
        "attribution alone": attribution(model, input_ids, options),
        "all, as in olmo_1b.yaml": everything,
    }


def attribution(
    model: PreTrainedModel, input_ids: NDArray[np.int32], options: argparse.Namespace
) -> Measurement:
    """Return the pass of its own that the attribution takes."""
    num_tokens = np.full(len(input_ids), input_ids.shape[1])
    instances = gather_instances(input_ids, num_tokens, padding="exclude", num_groups=1)

    def measure() -> NDArray[np.float64]:
        return measure_attributions(
            model,
            instances,
            batch_size_sequences=options.batch_size_sequences,
            num_groups=1,
        )

    return measure


def print_table(
    precision: str, seconds: dict[str, list[float]], input_ids: NDArray[np.int32]
) -> None:
    """Print the time per token, as a ratio to the bare forward pass, and what it is more."""
    print(f"\n{precision:36}{'µs/token':>12}{'bare forward to it':>28}{'more, of bare':>16}")
    for name, times in seconds.items():
        more = statistics.median(ratios(times, seconds["bare forward"])) - 1
        print(
            f"{name:36}{statistics.median(times) / input_ids.size * 1e6:12.1f}"
            f"{told(ratios(seconds['bare forward'], times)):>28}{more:>16.1%}"
        )


if __name__ == "__main__":
    main()
