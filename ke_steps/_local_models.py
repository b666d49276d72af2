"""Local checkpoints that cannot be used, as far as names and ``config.json`` tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ke_steps import _families
from ke_steps._errors import UserError
from ke_steps._weight_files import choose_weights
from ke_steps.settings import DirectorySource, GgufSource

if TYPE_CHECKING:
    from ke_steps.study import Study


def unusable_models(study: Study) -> Iterator[tuple[str, str]]:
    """Yield (key, what is wrong) for every local checkpoint that is not there or not of a kind.

    What takes more than a look at a folder is found by ``fetch_checkpoint``.
    """
    for name, model in study.models.items():
        if isinstance(model.source, DirectorySource | GgufSource):
            key = f"models.{name}.source.path"
            for step in model.steps:
                path = Path(model.source.path.replace("{step}", str(step)))
                if not path.exists():
                    yield key, f"no such file or directory: {path}"
                elif isinstance(model.source, DirectorySource):
                    yield from _faults(study, name, path)


def _faults(study: Study, name: str, directory: Path) -> Iterator[tuple[str, str]]:
    key = f"models.{name}.source.path"
    if not directory.is_dir():
        yield key, f"no directory: {directory}; a GGUF file needs source.kind 'gguf'"
        return
    try:
        choose_weights((path.name for path in directory.iterdir()), where=str(directory))
        if _families.is_native_olmo(directory):
            return
        _families.read_family(directory / "config.json")
    except UserError as error:
        yield key, str(error)
        return
    positions = _families.num_positions(directory)
    for corpus in _corpora_of(study, name):
        length = study.corpora[corpus].sequence_length_tokens
        if positions is not None and length > positions:
            yield (
                f"corpora.{corpus}.sequence_length_tokens",
                f"{length} exceeds the {positions} positions of models.{name} ({directory})",
            )


def _corpora_of(study: Study, name: str) -> list[str]:
    """Return the corpora that a model reads."""
    extract, model = study.extract_coefficients, study.models[name]
    learnt = [
        recipe.corpus
        for recipe in study.recipes.values()
        if any(recipe.includes(name, step) for step in model.steps)
    ]
    held_out = study.evaluate_retention.held_out_corpus
    novel = study.evaluate_novelty.corpora if study.evaluate_novelty else []
    everything = [extract.corpus, *extract.other_corpora, held_out, *novel, *learnt]
    return [name for name in dict.fromkeys(everything) if name in study.corpora]
