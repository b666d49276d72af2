"""Claims about cause: is it the gauge, or the function that resuscitation makes?

They rest on the effects of gauge and function at the last checkpoint that has both, the mean over
the learning rates of recipes that are alike in all else. Absolute entropy without all that a gauge
changes of learning is another claim (``entropy_alone``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ke_steps.claims.dormancy import of_dormancy
from ke_steps.claims.effects import (
    CHANGES,
    Arms,
    Numbers,
    changes_learning,
    experiments,
    is_negligible,
    is_other_than_zero,
    mean_difference,
    over_rates,
    shared_recipes,
    that_learned,
)
from ke_steps.claims.findings import (
    BEYOND,
    NOT_SUPPORTED,
    PAIRED,
    SUPPORTED,
    Decision,
    Finding,
    Part,
    decide,
)
from ke_steps.claims.measured import Measured, Recipes, State
from ke_steps.formulas.uncertainty import UNKNOWN, Estimate
from ke_steps.settings.interventions import PARTS
from ke_steps.settings.telling import SummarizeJob
from ke_steps.summary.quantities import (
    ACCURACY_AFTER,
    ACQUISITION_FROM_ORIGINAL,
    BEFORE_LEARNING,
    ENTROPY,
    KNOWLEDGE_AFTER,
    Measure,
    difference_unit,
    show,
)


class Factor(NamedTuple):
    """One of the two parts of an intervention, and what is claimed of it."""

    name: str
    contrast: str
    changes: str
    improves: str


FACTORS = (
    Factor(
        "gauge",
        "((S − O) + (R − V)) / 2 of the original O, the gauge S, the function V and resuscitation"
        " R. A gauge moves absolute H and with it how fast each memory learns; what is computed"
        " stays. Not tested where it does not move H.",
        "The gauge of resuscitation, which moves absolute entropy and how fast each memory learns,"
        " changes learning",
        "The gauge of resuscitation improves learning",
    ),
    Factor(
        "function",
        "((V − O) + (R − S)) / 2 of the original O, the gauge S, the function V and"
        " resuscitation R.",
        "The function that resuscitation makes changes learning",
        "The function that resuscitation makes improves learning",
    ),
)


IMPROVES = (
    "Supported if that on K after has its interval above zero, and P after ends lower by no more"
    " than {margin} with its whole interval; not supported if one of these has its interval on the"
    " other side, or that on A* is of no interest, within ± {margin} with its whole interval."
)


class Crossed(NamedTuple):
    """The 2 × 2 of one checkpoint of a model, by recipes by which all of its arms learned."""

    measured: Measured
    arms: Arms
    recipes: tuple[str, ...]

    @classmethod
    def of(cls, measured: Measured, arms: Arms, recipes: Sequence[str]) -> Crossed | None:
        """Return it; None where an arm lacks, or no recipe is common to all."""
        states = arms.two_by_two().get("interaction")
        shared = shared_recipes(measured, states, recipes) if states else ()
        return cls(measured, arms, shared) if shared else None

    def contrast(self, effect: str, measure: Measure) -> Estimate:
        """Return one effect on a measure."""
        coefficients = self.arms.two_by_two()[effect]
        return self.measured.contrast(coefficients, measure, self.asked(measure))

    def asked(self, measure: Measure) -> Recipes:
        """Return the recipes to be asked for a measure; None for what is before learning."""
        return None if measure in BEFORE_LEARNING else self.recipes


def causes(measured: Measured) -> Iterator[Finding]:
    """Yield findings for all multipliers that have more than a resuscitation, by recipes."""
    for stages, group, recipes in experiments(measured):
        whole = [found for arms in stages if (found := Crossed.of(measured, arms, recipes))]
        arms = whole[-1].arms if whole else stages[-1]
        effects = [_effect(measured, factor, whole[-1:]) for factor in FACTORS]
        for effect in effects:
            kind = arms.kinds.get(effect.factor.name)
            lacking = "" if whole else _lacking(measured, arms, recipes)
            yield from effect.findings(group, kind.variant if kind else None, lacking)
        yield from of_dormancy(measured, stages, group, recipes)


def causes_between_runs(models: Sequence[Measured]) -> Iterator[tuple[str, Finding]]:
    """Yield the same of families, the mean over two or more runs of pretraining."""
    families = dict.fromkeys(models[0].settings.families.values()) if models else {}
    for family in families:
        found: dict[tuple[Numbers, str], list[Crossed]] = {}
        for run in models:
            if run.settings.families.get(run.model) != family:
                continue
            for stages, group, recipes in experiments(run):
                whole = [each for arms in stages if (each := Crossed.of(run, arms, recipes))]
                if whole:
                    found.setdefault((stages[-1].numbers, group), []).append(whole[-1])
        for (_, group), runs in found.items():
            if len(runs) > 1:
                for factor in FACTORS:
                    variant = runs[0].arms.kinds[factor.name].variant
                    effect = _effect(runs[0].measured, factor, runs)
                    for finding in effect.findings(group, variant, ""):
                        yield family, finding


def _effect(measured: Measured, factor: Factor, runs: Sequence[Crossed]) -> Effect:
    """Return what a factor does in one run of pretraining, or in the mean over several."""
    if not runs:
        return Effect(factor, measured.settings)

    def told(name: str, measure: Measure) -> tuple[Estimate, str]:
        each = [(run.measured, run.arms.two_by_two()[name]) for run in runs]
        found = mean_difference(each, measure, runs[0].asked(measure))
        words = measured.spread(found, difference_unit(measure.unit))
        return found, f"{measure.label} by {words}"

    knowledge, of_knowledge = told(factor.name, KNOWLEDGE_AFTER)
    share, of_share = told(factor.name, ACQUISITION_FROM_ORIGINAL)
    accuracy, of_accuracy = told(factor.name, ACCURACY_AFTER)
    _, interaction = told("interaction", KNOWLEDGE_AFTER)
    entropy, of_entropy = told(factor.name, ENTROPY)
    is_moved = is_other_than_zero(entropy, measured.settings).verdict == SUPPORTED
    is_tested = is_moved or factor.name != "gauge"
    arms = runs[0].arms
    names = ", ".join(arms.kinds[kind].variant for kind in PARTS)
    number = f", the mean over {len(runs)} runs of pretraining" if len(runs) > 1 else ""
    evidence = (
        f"Of the original, {names} at step {arms.step:,}{over_rates(runs[0].recipes)}{number}: the"
        f" {factor.name} changes {of_knowledge}, {of_accuracy} and {of_share}; the interaction of"
        f" gauge and function changes {interaction}. Before learning it changes {of_entropy}"
        f"{'' if is_tested else ', which may be nothing, so that nothing is told of entropy'}."
    )
    if len(runs) > 1:
        each = [show(run.contrast(factor.name, KNOWLEDGE_AFTER).value, "nats") for run in runs]
        evidence += f" K after by run: {', '.join(each)}."
    return Effect(factor, measured.settings, knowledge, share, accuracy, is_tested, evidence)


class Effect(NamedTuple):
    """What one factor does; unknown, and without evidence, where an arm lacks."""

    factor: Factor
    settings: SummarizeJob
    knowledge: Estimate = UNKNOWN
    share: Estimate = UNKNOWN
    """On A*."""
    accuracy: Estimate = UNKNOWN
    is_tested: bool = False
    evidence: str = ""

    def findings(self, group: str, variant: str | None, lacking: str) -> Iterator[Finding]:
        """Yield that it changes learning, and that it improves it."""
        margin = show(self.settings.non_inferiority_margin, "points")
        for claim, statement, rule, decision in (
            ("changes", self.factor.changes, CHANGES.format(margin=margin), self.changes()),
            ("improves", self.factor.improves, IMPROVES.format(margin=margin), self.improves()),
        ):
            yield Finding(
                f"{self.factor.name}_{claim}_learning",
                f"{statement}{f' ({variant})' if variant else ''}.",
                BEYOND,
                f"The effect is {self.factor.contrast} {rule} {PAIRED}",
                lacking or self.evidence,
                decision.verdict,
                decision.p_value,
                0 if lacking else len(PARTS) + 1,
                "nats",
                self.knowledge,
                group,
                variant,
            )

    def changes(self) -> Decision:
        """Decide whether it changes learning, in either direction."""
        if not self.is_tested:
            return decide([], self.settings.confidence)
        return changes_learning(self.knowledge, self.share, self.settings)

    def improves(self) -> Decision:
        """Decide whether more new knowledge is there at the end, and no less of the old."""
        if not self.is_tested:
            return decide([], self.settings.confidence)
        nothing = is_negligible(self.share, self.settings)
        if nothing.verdict == SUPPORTED:
            return nothing._replace(verdict=NOT_SUPPORTED)
        parts = [Part(self.knowledge), Part(self.accuracy, -self.settings.non_inferiority_margin)]
        return decide(parts, self.settings.confidence)


def _lacking(measured: Measured, arms: Arms, recipes: Sequence[str]) -> str:
    """Return why there is no 2 × 2."""
    if missing := [kind for kind in PARTS if kind not in arms.kinds]:
        kinds = " and ".join(missing)
        return f"No variant of kind {kinds} with {arms.said} at step {arms.step:,}."
    states = [State(arms.step), *(arms.kinds[kind] for kind in PARTS)]
    learned = that_learned(measured, states, recipes)
    idle = [state.variant for state in states if state not in learned]
    if idle:
        return f"Nothing that counts was learned at step {arms.step:,} as {' and '.join(idle)}."
    return f"No recipe is common to the four arms at step {arms.step:,}."
