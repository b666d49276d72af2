"""Documents are tokenised in batches of a bounded size."""

from ke_steps.texts.documents import TextDocument, tokenise
from ke_steps.texts.tokenizers import load_tokenizer


def test_batches_are_bounded_in_characters(tokenizer_manifest, monkeypatch):
    tokenizer = load_tokenizer(tokenizer_manifest.parent)
    monkeypatch.setattr("ke_steps.texts.documents.CHARACTERS_PER_BATCH", 25)
    drawn = []

    def texts():
        for number in range(20):
            drawn.append(number)
            yield TextDocument(str(number), "ten chars!")

    tokenised = tokenise(texts(), tokenizer)
    first = next(tokenised)
    assert len(drawn) == 3
    assert first.token_ids.tolist() == [*tokenizer.encode("ten chars!"), tokenizer.eos_token_id]
    assert [document.document_id for document in tokenised] == list(map(str, range(1, 20)))
