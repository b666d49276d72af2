"""Random models of every family, a tiny tokenizer, checkpoints and tables made of them."""

import json
from functools import cache

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ke_steps.artefacts.parquet import write_table
from ke_steps.artefacts.text_schemas import sequences_schema
from ke_steps.checkpoints.checkpoint_files import save_checkpoint
from ke_steps.models.feed_forward import describe_model
from ke_steps.models.loading import attention_implementation

VOCAB_SIZE = 320

HIDDEN_SIZE = 32

NUM_MEMORIES = 64

NUM_LAYERS = 2

MAX_LENGTH_TOKENS = 64

EOS_ID, PAD_ID = 0, 1

SENTENCES = [
    "Mara Velin was born in the town of Orsk and works as a glass blower.",
    "The river Tamsin flows past Orsk, and its bridge has seven arches.",
    "In Orsk the market opens at dawn; the glass blowers sell lamps there.",
    "Tamsin Orsk wrote a book about bridges, lamps and the river.",
]

_GROUPED = {"num_key_value_heads": 2}

_EXPERTS = _GROUPED | {"intermediate_size": NUM_MEMORIES // 4, "num_experts_per_tok": 2}

_GEMMA = _GROUPED | {"head_dim": 8, "query_pre_attn_scalar": 8}

FAMILIES = {
    "olmo": {"tie_word_embeddings": True},
    "olmo2": _GROUPED,
    "olmo3": _GROUPED,
    "llama": {},
    "smollm3": _GROUPED,
    "mistral": _GROUPED,
    "qwen2": _GROUPED,
    "qwen3": _GROUPED | {"head_dim": 8},
    "gemma2": _GEMMA,
    "gemma3_text": _GEMMA,
    "phi3": _GROUPED,
    "gpt_neox": {},
    "gpt2": {"n_inner": NUM_MEMORIES, "tie_word_embeddings": True},
    "olmoe": _EXPERTS | {"num_experts": 4},
    "mixtral": _EXPERTS | {"num_local_experts": 4},
}
"""Model types, and what their tiny models need beside what all have; all have 64 memories."""


def build_model(family="olmo", *, seed=0, **overrides):
    """Return a two-layer random model (fp32, evaluation mode) of one of ``FAMILIES``.

    Weights are larger than at a usual initialisation, so that coefficients differ visibly.
    """
    sizes = {} if "n_inner" in FAMILIES[family] else {"intermediate_size": NUM_MEMORIES}
    keywords = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": HIDDEN_SIZE,
        "num_hidden_layers": NUM_LAYERS,
        "num_attention_heads": 4,
        "max_position_embeddings": MAX_LENGTH_TOKENS,
        "initializer_range": 0.15,
        "bos_token_id": EOS_ID,
        "eos_token_id": EOS_ID,
        "pad_token_id": PAD_ID,
        "tie_word_embeddings": False,
    }
    config = transformers.AutoConfig.for_model(
        family, **(keywords | sizes | FAMILIES[family] | overrides)
    )
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation=attention_implementation(config)
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    return model.eval()


@cache
def trained_tokenizer():
    """Return the tokenizer of ``build_tokenizer``, which is the same each time."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=["<|endoftext|>", "<|padding|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return tokenizer


def build_tokenizer(directory):
    """Write a byte-level BPE of at most 320 ids to ``directory``; 0 ends a text, 1 pads."""
    directory.mkdir(parents=True, exist_ok=True)
    trained_tokenizer().save(str(directory / "tokenizer.json"))
    config = {"eos_token": "<|endoftext|>", "pad_token": "<|padding|>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


def build_checkpoint(directory, family="olmo", *, model=None, step=0, seed=0, **overrides):
    """Write a random model (or ``model``) as a checkpoint; return the path of its manifest."""
    model = model if model is not None else build_model(family, seed=seed, **overrides)
    tokenizer_directory = build_tokenizer(directory.with_name(directory.name + "_tokenizer"))
    manifest = directory / "manifest.json"
    save_checkpoint(
        model,
        tokenizer_directory,
        manifest,
        step=step,
        source={"kind": "random", "seed": seed},
        sizes=describe_model(model),
    )
    return manifest


def random_sequences(num_sequences, sequence_length_tokens, *, seed=0, vocab_size=VOCAB_SIZE):
    """Return token ids (num_sequences, sequence_length_tokens) int32 without the special ones."""
    generator = np.random.default_rng(seed)
    return generator.integers(
        2, vocab_size, (num_sequences, sequence_length_tokens), dtype=np.int32
    )


def build_sequences(path, num_sequences=8, sequence_length_tokens=16, *, seed=0, input_ids=None):
    """Write a sequences table of random token ids (or of ``input_ids``); return its path."""
    if input_ids is None:
        input_ids = random_sequences(num_sequences, sequence_length_tokens, seed=seed)
    schema = sequences_schema(input_ids.shape[1])
    write_table(path, {"input_ids": list(input_ids)}, schema)
    return path
