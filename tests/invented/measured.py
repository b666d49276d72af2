"""A tiny model in a folder, as people have it, and text for it."""

from transformers import PreTrainedTokenizerFast

from tests.invented.models import SENTENCES, build_model, build_tokenizer

TEXTS = [f"{sentence} Page {page}." for page in range(40) for sentence in SENTENCES]


def build_folder(directory, family="olmo", **changes):
    """Write a random model and its tokenizer as transformers does; return the folder."""
    build_model(family, **changes).save_pretrained(directory)
    return build_tokenizer(directory)


def write_text(path, texts=TEXTS):
    """Write a text file, a document a paragraph; return its path."""
    path.write_text("\n\n".join(texts))
    return path


def fast_tokenizer(directory):
    """Return the tokenizer of a folder as transformers has it."""
    return PreTrainedTokenizerFast(
        tokenizer_file=str(directory / "tokenizer.json"),
        eos_token="<|endoftext|>",
        pad_token="<|padding|>",
    )
