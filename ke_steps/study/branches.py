"""What is wrong with the models that branch off others, beside what one key shows."""

from __future__ import annotations

from collections.abc import Iterator

from ke_steps.settings.study import Study


def branch_faults(study: Study) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong) for the models that branch off others."""
    for name, source in study.branches.items():
        key = f"models.{name}"
        if source.model not in study.models:
            known = ", ".join(study.models)
            yield f"{key}.source.model", f"no model {source.model!r}; models has {known}"
            continue
        if source.model in study.branches:
            yield (
                f"{key}.source.model",
                f"{source.model} is a branch; name what it branches off,"
                f" {study.trunk(source.model)}",
            )
            continue
        trunk, own = study.models[source.model], study.models[name]
        if missing := [step for step in own.steps if step not in trunk.steps]:
            yield (
                f"{key}.steps",
                f"models.{source.model} has no step {missing[0]}; its steps are {trunk.steps}",
            )
        if own.begin_of_text != trunk.begin_of_text:
            yield (
                f"{key}.begin_of_text",
                f"{own.begin_of_text}, but models.{source.model}, whose tokenizer it has, says"
                f" {trunk.begin_of_text}",
            )
