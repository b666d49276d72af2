"""The size of every model of a study, found without network: in what is there, else as known."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub.constants import HF_HUB_CACHE

from ke_steps.artefacts.places import FETCHED
from ke_steps.job.errors import UserError
from ke_steps.planning.model_shapes import ModelShape, shape_of_config
from ke_steps.settings.checkpoints import (
    BranchSource,
    DirectorySource,
    GgufSource,
    HubSource,
    NurserySource,
)
from ke_steps.settings.study import Study

BYTES_OF_DTYPE = {"float16": 2, "bfloat16": 2}
"""Others count as fp32."""

_OLMO_1B = {
    "model_type": "olmo",
    "num_hidden_layers": 16,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_attention_heads": 16,
    "vocab_size": 50304,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
}
_OLMO_7B = _OLMO_1B | {
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "tie_word_embeddings": False,
}
_OLMO2_1B = _OLMO_1B | {
    "model_type": "olmo2",
    "vocab_size": 100352,
    "tie_word_embeddings": False,
}
_OLMO2_7B = _OLMO_7B | {"model_type": "olmo2", "vocab_size": 100352}
_SMOLLM3_3B = {
    "model_type": "smollm3",
    "num_hidden_layers": 36,
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}


def _pythia(num_layers: int, hidden_size: int, num_heads: int, vocab_size: int) -> dict[str, Any]:
    return {
        "model_type": "gpt_neox",
        "num_hidden_layers": num_layers,
        "hidden_size": hidden_size,
        "intermediate_size": 4 * hidden_size,
        "num_attention_heads": num_heads,
        "vocab_size": vocab_size,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
    }


_POLYPYTHIA = {
    "14m": _pythia(6, 128, 4, 50304),
    "31m": _pythia(6, 256, 8, 50304),
}
_PYTHIA = {
    "70m": _pythia(6, 512, 8, 50304),
    "160m": _pythia(12, 768, 12, 50304),
    "410m": _pythia(24, 1024, 16, 50304),
    "1b": _pythia(16, 2048, 8, 50304),
    "1.4b": _pythia(24, 2048, 16, 50304),
    "2.8b": _pythia(32, 2560, 32, 50304),
    "6.9b": _pythia(32, 4096, 32, 50432),
    "12b": _pythia(36, 5120, 40, 50688),
}

KNOWN_CONFIGS: dict[str, dict[str, Any]] = (
    {
        "allenai/OLMo-1B-hf": _OLMO_1B,
        "allenai/OLMo-7B-hf": _OLMO_7B,
        "allenai/OLMo-7B": _OLMO_7B,
        "allenai/OLMo-2-0425-1B": _OLMO2_1B,
        "allenai/OLMo-2-1124-7B": _OLMO2_7B,
        "HuggingFaceTB/SmolLM3-3B-checkpoints": _SMOLLM3_3B,
    }
    | {
        f"EleutherAI/pythia-{size}{suffix}": config
        for size, config in _PYTHIA.items()
        for suffix in ("", "-deduped")
    }
    | {
        f"EleutherAI/pythia-{size}{suffix}": config
        for size, config in _POLYPYTHIA.items()
        for suffix in ("", *(f"-seed{seed}" for seed in range(1, 10)))
    }
)
"""What config.json of some hub repositories says, as far as it matters to a model's size.

So that a study of them can be planned before anything is downloaded. From the repositories
themselves; Pythia's embeddings are padded for the parallelism of its pretraining.
"""


class FoundConfig(NamedTuple):
    """The content of a config.json, and where it was found."""

    place: str
    config: Mapping[str, Any]


@dataclass(frozen=True)
class ModelSize:
    """A model's shape, what its weights take where they come from, and who says so."""

    shape: ModelShape
    bytes_per_parameter: int
    place: str


UNKNOWN = ModelSize(ModelShape(0, 0, 0, 0, 0, 0, 0, 0), 0, "unknown")
"""Counts for nothing wherever it is used."""


def find_size(study: Study, name: str) -> ModelSize | None:
    """Return the size of a model of a study; None when nothing here tells it."""
    for place, config in _configs(study, name):
        shape = shape_of_config(config)
        if shape is not None:
            dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
            return ModelSize(shape, BYTES_OF_DTYPE.get(dtype, 4), place)
    return None


def _configs(study: Study, name: str) -> Iterator[FoundConfig]:
    """Yield what is fetched already, then what the source has."""
    model = study.models[name]
    source = model.source
    fetched = Path(FETCHED.format(model=name, step="*")).with_name("config.json")
    yield from _read(sorted(Path(study.results_dir).glob(str(fetched))))
    match source:
        case NurserySource():
            yield _nursery_config(study, source)
        case BranchSource():
            yield from _configs(study, source.model)
        case DirectorySource():
            yield from _read(path / "config.json" for path in _places(source.path, model.steps))
        case GgufSource():
            for path in filter(Path.is_file, _places(source.path, model.steps)):
                yield _gguf_config(path, tied_head=source.tied_head)
        case HubSource():
            cached = Path(HF_HUB_CACHE) / f"models--{source.repo.replace('/', '--')}"
            yield from _read(sorted(cached.glob("snapshots/*/config.json")))
            if source.repo in KNOWN_CONFIGS:
                yield FoundConfig("as known", KNOWN_CONFIGS[source.repo])


def _places(path: str, steps: Iterable[int]) -> Iterator[Path]:
    return (Path(path.format(step=step)) for step in steps)


def _read(paths: Iterable[Path]) -> Iterator[FoundConfig]:
    for path in paths:
        if path.is_file():
            try:
                yield FoundConfig(str(path), json.loads(path.read_text()))
            except ValueError as error:
                raise UserError(f"{path}: not a readable JSON file ({error})") from error


def _nursery_config(study: Study, source: NurserySource) -> FoundConfig:
    if study.train_tokenizer is None:
        raise ValueError("a study with a nursery has the section")
    rest = {"model_type": "olmo", "vocab_size": study.train_tokenizer.vocab_size_tokens}
    return FoundConfig("trained here", source.model_dump() | rest)


def _gguf_config(path: Path, *, tied_head: bool) -> FoundConfig:
    # only a study with such a source needs the library
    from ke_steps.checkpoints.gguf_config import read_gguf_config
    from ke_steps.checkpoints.gguf_files import open_gguf

    return FoundConfig(str(path), read_gguf_config(open_gguf(path), tied_head=tied_head))
