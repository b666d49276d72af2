"""The nursery's tokenizer: any text survives it, and the same world gives the same bytes."""

import hashlib
import json

import pytest
import transformers

from ke_steps import train_tokenizer
from ke_steps.job.errors import UserError
from ke_steps.settings.checkpoints import TrainTokenizerJob
from ke_steps.texts.tokenizers import load_tokenizer

WORLD = {"seed": 0, "num_people": 30, "num_continual_entities": 5, "num_questions": 5}
FILES = ["tokenizer.json", "tokenizer_config.json"]


def settings(vocab_size_tokens=600, num_documents=500):
    return TrainTokenizerJob.model_validate(
        {"vocab_size_tokens": vocab_size_tokens, "num_documents": num_documents}
        | {"world": WORLD, "source": {"kind": "world", "domain": "pretraining"}}
    )


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "manifest.json"
    train_tokenizer.run(output=path, settings=settings())
    return path


def test_manifest_describes_the_files(manifest):
    described = json.loads(manifest.read_text())
    assert described["kind"] == "tokenizer"
    assert described["vocab_size"] == 600
    assert sorted(described["files"]) == FILES
    for name, file in described["files"].items():
        content = manifest.with_name(name).read_bytes()
        assert file["size_bytes"] == len(content)
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert sorted(path.name for path in manifest.parent.iterdir()) == ["manifest.json", *FILES]


def test_special_tokens_have_the_first_ids(manifest):
    tokenizer = load_tokenizer(manifest.parent)
    assert tokenizer.vocab_size == 600
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 1)
    assert tokenizer.encode("A text without them.").count(0) == 0


def test_every_character_of_every_language_survives(manifest):
    backend = load_tokenizer(manifest.parent).backend
    for text in [
        "Zażółć gęślą jaźń",
        "核糖体 → β-лактам 🧬",
        "a\n\tb  c",
        "".join(map(chr, range(1, 256))),
    ]:
        assert backend.decode(backend.encode(text).ids).removeprefix(" ") == text.removeprefix(" ")


def test_a_name_has_the_same_tokens_at_the_start_of_a_text_as_inside(manifest):
    tokenizer = load_tokenizer(manifest.parent)
    name = tokenizer.encode("Zuvo")
    assert tokenizer.encode("The town of Zuvo")[-len(name) :] == name


def test_an_input_is_a_prefix_of_input_and_target(manifest):
    tokenizer = load_tokenizer(manifest.parent)
    whole = tokenizer.encode("The home town of Zuvo Lil is Mabo")
    asked = tokenizer.encode("The home town of Zuvo Lil is")
    assert whole[: len(asked)] == asked


def test_transformers_reads_it_alike(manifest):
    theirs = transformers.AutoTokenizer.from_pretrained(manifest.parent)
    text = "Zuvo Lil plays the lute. Ünïcode!"
    assert theirs(text)["input_ids"] == load_tokenizer(manifest.parent).encode(text)
    assert (theirs.eos_token_id, theirs.pad_token_id) == (0, 1)


def test_same_world_same_bytes(manifest, tmp_path):
    again = tmp_path / "again" / "manifest.json"
    train_tokenizer.run(output=again, settings=settings())
    for name in ["manifest.json", *FILES]:
        assert again.with_name(name).read_bytes() == manifest.with_name(name).read_bytes()


def test_a_vocabulary_that_the_text_cannot_fill_is_refused(tmp_path):
    output = tmp_path / "manifest.json"
    with pytest.raises(UserError, match=r"vocab_size_tokens: 5000 is more than the \d+ tokens"):
        train_tokenizer.run(output=output, settings=settings(vocab_size_tokens=5000))
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_learns_the_first_documents_of_its_corpus(tmp_path):
    """Texts of a file: the same as those alone that are asked for, and not those after them."""
    texts = [f"zyxwv{number % 50} qpqp" for number in range(300)]
    others = [f"another kind of text {number}" for number in range(500)]

    def learn(name, lines, num_documents):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
        output = tmp_path / name / "manifest.json"
        source = {"kind": "text", "paths": [str(path)]}
        asked = {"vocab_size_tokens": 300, "num_documents": num_documents, "source": source}
        train_tokenizer.run(output=output, settings=TrainTokenizerJob.model_validate(asked))
        return output.with_name("tokenizer.json").read_bytes()

    alone = learn("alone", texts, 300)
    assert learn("more", [*texts, *others], 300) == alone
    assert learn("other", [*others, *texts], 300) != alone
    assert "zyxwv" in alone.decode()
