"""The call that measures one model. Nothing heavy is loaded before it is made."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from ke_steps.job.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ke_steps.public.measurement import Measurement
    from ke_steps.public.sampling import Texts
    from ke_steps.settings.types import BeginOfText


def measure(
    model: str | Path | PreTrainedModel,
    texts: Texts,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    revision: str = "main",
    step: int = 0,
    tied_head: bool = False,
    num_sequences: int = 64,
    sequence_length_tokens: int | None = None,
    batch_size_sequences: int | None = None,
    precision: Literal["fp32", "bf16"] | None = None,
    end_of_text: str | None = None,
    begin_of_text: BeginOfText = "tokenizer",
) -> Measurement:
    """Measure the knowledge entropy of a model, as the workflow's steps do.

    A model from a path goes through ``fetch_checkpoint``, ``prepare_corpus``,
    ``extract_coefficients`` and ``aggregate_entropy`` in a temporary folder, a GGUF file as fp32
    (four bytes a parameter). One that is loaded is measured where it is, with the parameters that
    it has; its modes, hooks and torch's settings are as before afterwards. Progress is on stderr.

    Args:
        model: a folder, ``owner/name`` on the hub, a GGUF file, or a loaded model.
        texts: the path of a file, a list of texts (``str``) or of files (``pathlib.Path``), or a
            mapping, the ``source`` of a corpus as a study has it.
        tokenizer: of a loaded model.
        revision: branch or tag on the hub; ``{step}`` stands for the step, ``*`` for any text.
        step: what ``{step}`` in ``model`` or ``revision`` stands for.
        tied_head: a GGUF file without ``output.weight`` is of a model whose head is its embedding.
        num_sequences: all the text is taken, up to so many; fewer by some where no number of
            groups for the intervals divides them.
        sequence_length_tokens: the model's context when absent, 2,048 at most.
        batch_size_sequences: that pass the model at once; up to 8,192 tokens when absent.
        precision: of a model from a path; fp32 on CPUs and bf16 on GPUs when absent.
        end_of_text: the token that ends a text, where the model's files name none or another.
        begin_of_text: whether texts begin with the begin-of-text token: ``tokenizer`` (as it does),
            ``always`` or ``never``.

    Returns:
        ``by_layer``, a data frame; ``total``, the model's values; and what they are from.

    Raises:
        UserError: the model or the texts cannot be used; says in one line why, and what would do.
    """
    from ke_steps.public import fetched, loaded
    from ke_steps.public.measurement import conclude
    from ke_steps.public.sampling import Sampling, take_sample
    from ke_steps.public.steps import checked, in_words_of_the_call

    wanted = {
        "num_sequences": num_sequences,
        "sequence_length_tokens": sequence_length_tokens,
        "batch_size_sequences": batch_size_sequences,
        "begin_of_text": begin_of_text,
    }
    sampling = checked(Sampling, wanted)
    with (
        in_words_of_the_call(),
        loaded.torch_as_it_was(),
        TemporaryDirectory(prefix="knowledge-entropy-") as path,
    ):
        folder = Path(path)
        if isinstance(model, str | Path):
            place = fetched.Place(str(model), revision, step, tied_head)
            manifest = fetched.fetch(place, end_of_text, folder)
            sample = take_sample(manifest, texts, sampling, folder)
            fetched.extract(manifest, sample, precision)
            origin = fetched.provenance_of(manifest)
            return conclude(sample, name=fetched.name_of(origin["source"]), checkpoint=origin)
        if precision is not None:
            raise UserError("precision: a model that is loaded is measured in its own")
        described = loaded.describe(model, tokenizer, end_of_text, folder / "model")
        sample = take_sample(described, texts, sampling, folder)
        loaded.extract(model, sample)
        return conclude(sample, name=loaded.name_of(model))
