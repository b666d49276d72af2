"""Learn a nursery's tokenizer: a byte-level BPE of the corpus that the nursery is trained on.

Reads the first documents of the corpus' source, whatever the corpus passes over: the world, local
text files (``texts.text_files``) or a dataset of the hub (``texts.hub_datasets``). Writes a
directory: ``tokenizer.json``, ``tokenizer_config.json`` and, last, ``manifest.json`` (kind,
vocab_size, provenance, files with size_bytes and sha256).
``<|endoftext|>`` has id 0 and ``<|padding|>`` id 1; then come all 256 bytes, so that any text can
be written, whatever its domain.

    python -m ke_steps.train_tokenizer --output results/train_tokenizer/manifest.json --settings \
      '{"vocab_size_tokens": 1024, "num_documents": 4000,
        "source": {"kind": "text", "paths": ["a.jsonl.zst"]}}'
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ke_steps.artefacts.manifests import describe_files
from ke_steps.job import provenance
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.job.files import replacing, write_json
from ke_steps.settings.checkpoints import TrainTokenizerJob
from ke_steps.texts.rows import TextlessRows
from ke_steps.texts.sources import read_texts

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|padding|>"


def train_tokenizer(documents: Iterable[str], vocab_size_tokens: int) -> Tokenizer:
    """Return a byte-level BPE of at most ``vocab_size_tokens`` ids, fewer where merges run out.

    Texts get a leading space, so that a name has the same tokens at the start of a text (where
    probes and questions put it) as inside one.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size_tokens,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def run(*, output: Path, settings: TrainTokenizerJob) -> None:
    """Train on the first documents of the corpus and write the directory."""
    textless = TextlessRows()
    documents = read_texts(settings.source, settings.world, textless)
    texts = (document.text for document in itertools.islice(documents, settings.num_documents))
    tokenizer = train_tokenizer(texts, settings.vocab_size_tokens)
    textless.tell()
    vocab_size = tokenizer.get_vocab_size()
    if vocab_size < settings.vocab_size_tokens:
        raise UserError(
            f"train_tokenizer.vocab_size_tokens: {settings.vocab_size_tokens} is more than the"
            f" {vocab_size} tokens found in the first {settings.num_documents} documents of the"
            " corpus; lower it, or raise num_documents where the corpus has more"
        )
    _write_directory(output, tokenizer, vocab_size)


def _write_directory(manifest: Path, tokenizer: Tokenizer, vocab_size: int) -> None:
    manifest.unlink(missing_ok=True)
    files = [manifest.with_name("tokenizer.json"), manifest.with_name("tokenizer_config.json")]
    with replacing(files[0]) as beside:
        tokenizer.save(str(beside))
    write_json(
        files[1],
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "eos_token": END_OF_TEXT,
            "pad_token": PADDING,
            "add_prefix_space": True,
            "clean_up_tokenization_spaces": False,
        },
    )
    write_json(
        manifest,
        {
            "kind": "tokenizer",
            "vocab_size": vocab_size,
            "provenance": provenance.current(),
            "files": describe_files(files),
        },
    )


if __name__ == "__main__":
    main(run)
