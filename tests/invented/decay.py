"""Knowledge that is injected and fades by a law: its schedule and its probe scores."""

import pandas as pd

from ke_steps.artefacts.text_schemas import SCHEDULE

INTERVAL, NUM_INJECTIONS, LAST, NUM_STEPS = 20, 3, 60, 460
STEPS = sorted({0, 19, 20, 39, 40, 59, 60, *range(64, NUM_STEPS + 1, 4)})


def injected(passage):
    """Even passages are injected three times, odd ones once, at one of the three."""
    every = [INTERVAL * k for k in range(1, NUM_INJECTIONS + 1)]
    return every if passage % 2 == 0 else [every[passage // 2 % NUM_INJECTIONS]]


def build_schedule(num_passages):
    rows = [
        (step // INTERVAL, step, passage, passage, 0, "once" if passage % 2 else "paraphrase")
        for passage in range(num_passages)
        for step in injected(passage)
    ]
    return pd.DataFrame(rows, columns=SCHEDULE.names)


def build_scores(curve, num_passages=6, num_probes=3):
    """Return scores in which ``curve(passage, probe, step)`` is ℓ, with moments that overlap."""
    rows = []
    for passage in range(num_passages):
        for probe in range(num_probes):
            for step in STEPS:
                value = curve(passage, probe, step)
                for moment in ["later", "end"] if step == NUM_STEPS else ["later"]:
                    rows.append(
                        {
                            "moment": moment,
                            "injection": None,
                            "train_step": step,
                            "probe_id": passage * num_probes + probe,
                            "passage_id": passage,
                            "condition": "once" if passage % 2 else "paraphrase",
                            "kind": "memorization",
                            "num_target_tokens": 2,
                            "log_probability_sum": 2 * value,
                            "log_probability_per_token": value,
                            "log_probability_reference_padded": value / 9,
                            "log_probability_first_token": value,
                            "exact_match": False,
                        }
                    )
    frame = pd.DataFrame(rows).sample(frac=1, random_state=1)
    return frame.assign(injection=frame["injection"].astype("Int32"))


def fading(law):
    """Return a curve that rises by a gain at each injection and keeps ``law(t)`` of all after."""

    def curve(passage, probe, step):
        gain = 1 + 0.1 * passage + 0.3 * probe
        seen = [s for s in injected(passage) if s <= step]
        base = -9 - 0.2 * probe
        if len(seen) < len(injected(passage)):
            return base + gain * len(seen)
        return base + gain * len(seen) * law(step - seen[-1])

    return curve
