"""Small tokenizers that begin a text in different ways, as those of public models do."""

import json

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from ke_steps.artefacts.manifests import describe_files
from ke_steps.job.files import write_json
from ke_steps.texts.tokenizers import FILES
from tests.invented.models import SENTENCES, VOCAB_SIZE, build_tokenizer

BOS, EOS = "<s>", "</s>"
PIECES = ["<unk>", BOS, EOS, "▁", "a", "b", "c", "▁a", "▁b", "▁c", "▁▁"]
BOS_ID, EOS_ID, MARK, A, B, C, MARK_A, MARK_B, MARK_C, TWO_MARKS = range(1, 11)
"""Ids of the lettered tokenizer's pieces."""


def begin_with_bos(tokenizer, bos=BOS):
    """Put the begin-of-text token before every text, as the templates of public models do."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A {bos}:1 $B:1",
        special_tokens=[(bos, tokenizer.token_to_id(bos))],
    )


def _mark_words(tokenizer, form):
    """Have every text begin with a mark: by a normaliser (Llama 2) or a pre-tokeniser."""
    if form == "normalizer":
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace()


def write(directory, tokenizer, **config):
    """Write a tokenizer; return its directory."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory


def lettered(directory, form="normalizer"):
    """Write a tokenizer of the texts of a, b, c and spaces, with marks and begin-of-text."""
    merges = [("▁", "a"), ("▁", "b"), ("▁", "c"), ("▁", "▁")]
    vocabulary = {piece: index for index, piece in enumerate(PIECES)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token=PIECES[0]))
    tokenizer.add_special_tokens([BOS, EOS])
    _mark_words(tokenizer, form)
    begin_with_bos(tokenizer)
    return write(directory, tokenizer, bos_token=BOS, eos_token=EOS)


def marked(directory, texts=SENTENCES):
    """Write a tokenizer as Llama 2's, learnt from texts, of at most 320 ids."""
    tokenizer = Tokenizer(models.BPE(unk_token=PIECES[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=PIECES[:3],
        initial_alphabet=[chr(code) for code in range(32, 127)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    _mark_words(tokenizer, "normalizer")
    tokenizer.pre_tokenizer = None
    begin_with_bos(tokenizer)
    return write(directory, tokenizer, bos_token=BOS, eos_token=EOS)


def beginning(directory):
    """Write a byte-level tokenizer that begins texts as Llama 3's, with ``<|padding|>``."""
    build_tokenizer(directory)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    begin_with_bos(tokenizer, "<|padding|>")
    template = tokenizer.post_processor
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False), template]
    )
    return write(directory, tokenizer, bos_token="<|padding|>", eos_token="<|endoftext|>")


def read_by_transformers(directory):
    """Return transformers' own tokenizer of a directory."""
    return PreTrainedTokenizerFast(tokenizer_file=str(directory / "tokenizer.json"))


def manifest_of(directory):
    """Write the manifest of a tokenizer's directory; return its path."""
    files = describe_files(directory / name for name in FILES)
    write_json(directory / "manifest.json", {"kind": "tokenizer", "files": files})
    return directory / "manifest.json"
