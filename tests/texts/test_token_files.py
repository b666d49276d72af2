"""Token files, local and by byte ranges from a server on loopback, with its faults."""

import hashlib

import httpx
import numpy as np
import pytest

from ke_steps import prepare_corpus
from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.text_schemas import DOCUMENTS, sequences_schema
from ke_steps.job.errors import UserError
from ke_steps.settings.texts import PrepareCorpus, TokenFileText
from ke_steps.texts import byte_ranges, token_files
from ke_steps.texts.byte_ranges import open_ranges
from ke_steps.texts.token_files import read_token_documents
from tests.invented.hub_server import HubServer
from tests.invented.models import EOS_ID, VOCAB_SIZE

URL_PATH = "/olmo/part-000-00000.npy"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(byte_ranges, "RETRY_WAITS_SECONDS", (0.0, 0.0))


@pytest.fixture
def stream():
    """Return 1,000 token ids in documents of 0…60 tokens."""
    generator = np.random.default_rng(0)
    ids = generator.integers(2, 256, 1000)
    ids[generator.choice(1000, 30, replace=False)] = EOS_ID
    ids[[100, 101]] = EOS_ID
    return ids


@pytest.fixture
def server():
    with HubServer() as hub:
        yield hub


def read(location, num_tokens, dtype="uint16", vocab_size=VOCAB_SIZE, **more):
    source = TokenFileText(kind="token_file", location=str(location), dtype=dtype)
    return list(
        read_token_documents(
            source, eos_token_id=EOS_ID, vocab_size=vocab_size, num_tokens=num_tokens, **more
        )
    )


def write(path, ids, dtype="uint16"):
    path.write_bytes(np.asarray(ids, dtype=f"<u{np.dtype(dtype).itemsize}").tobytes())
    return path


def split(ids):
    """Cut a list at every end of text, one token at a time."""
    documents = [[]]
    for token in ids:
        if token == EOS_ID:
            documents.append([])
        else:
            documents[-1].append(token)
    return documents if documents[-1] else documents[:-1]


@pytest.mark.parametrize("block_bytes", [8, 100, 2**23])
@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_documents_are_split_at_the_end_of_text(tmp_path, stream, monkeypatch, dtype, block_bytes):
    monkeypatch.setattr(token_files, "BLOCK_BYTES", block_bytes)
    documents = read(write(tmp_path / "a.npy", stream, dtype), 1000, dtype)
    expected = split(stream.tolist())
    assert [d.token_ids[: d.num_tokens].tolist() for d in documents] == expected
    assert [d.num_tokens for d in documents] == list(map(len, expected))
    assert [d.document_id for d in documents] == list(map(str, range(len(expected))))
    np.testing.assert_array_equal(np.concatenate([d.token_ids for d in documents]), stream)
    raw = [np.array(ids, dtype=dtype).tobytes() for ids in expected]
    assert [d.content_sha256 for d in documents] == [hashlib.sha256(r).hexdigest() for r in raw]


@pytest.mark.parametrize("is_remote", [False, True])
def test_sequences_are_the_files_tokens(tokenizer_manifest, tmp_path, stream, server, is_remote):
    path = write(tmp_path / "a.npy", stream)
    server.files[URL_PATH] = path.read_bytes()
    settings = {
        "source": {
            "kind": "token_file",
            "location": f"{server.url}{URL_PATH}" if is_remote else str(path),
            "dtype": "uint16",
        },
        "num_sequences": 20,
        "sequence_length_tokens": 32,
        "skip_sequences": 5,
    }
    outputs = [tmp_path / "sequences.parquet", tmp_path / "documents.parquet"]
    prepare_corpus.run(
        tokenizer=tokenizer_manifest,
        output_sequences=outputs[0],
        output_documents=outputs[1],
        settings=PrepareCorpus.model_validate(settings),
    )
    rows = read_frame(outputs[0], sequences_schema(32))["input_ids"]
    written = stream[5 * 32 : 25 * 32]
    np.testing.assert_array_equal(np.concatenate(rows.to_list()), written)
    documents = read_frame(outputs[1], DOCUMENTS)
    assert documents["first_token"].iloc[0] < 0
    for row in documents.itertuples():
        ids = stream[row.first_token + 160 :][: row.num_tokens]
        raw = ids.astype("<u2").tobytes()
        assert row.content_sha256 == hashlib.sha256(raw).hexdigest()
    ends = np.flatnonzero(written == EOS_ID)
    inside = documents[documents["first_token"] > 0]
    assert set(inside["first_token"] - 1) <= set(ends)


def test_only_the_needed_bytes_are_asked_for(server, stream, monkeypatch):
    monkeypatch.setattr(token_files, "BLOCK_BYTES", 512)
    server.files[URL_PATH] = np.tile(stream, 1000).astype("<u2").tobytes()
    read(f"{server.url}{URL_PATH}", 700)
    ranges = [request.range for request in server.find(URL_PATH)]
    assert ranges == ["bytes=0-0", "bytes=0-5", "bytes=0-511", "bytes=512-1023", "bytes=1024-1399"]
    assert server.sent_bytes == 1400 + 7


def test_passing_failures_are_tried_again(server, stream):
    server.files[URL_PATH] = stream.astype("<u2").tobytes()
    expected = read(f"{server.url}{URL_PATH}", 1000)
    for fault in [
        {"status": 503},
        {"status": 429, "headers": {"Retry-After": "0"}},
        {"cut_after_bytes": 0, "times": 2},
    ]:
        server.fail(URL_PATH, **fault)
        again = read(f"{server.url}{URL_PATH}", 1000)
        assert [d.content_sha256 for d in again] == [d.content_sha256 for d in expected]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"status": 404}, "the server answered 404 Not Found"),
        ({"status": 403}, "the server answered 403 Forbidden"),
        ({"status": 503}, "gave up after 3 tries (the server answered 503"),
        ({"cut_after_bytes": 0}, "gave up after 3 tries"),
    ],
)
def test_a_server_that_refuses_is_one_line(server, stream, fault, message):
    server.files[URL_PATH] = stream.astype("<u2").tobytes()
    server.fail(URL_PATH, times=None, **fault)
    with pytest.raises(UserError) as refusal:
        read(f"{server.url}{URL_PATH}", 1000)
    assert message in str(refusal.value)
    assert f"{server.url}{URL_PATH}" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_no_server_is_one_line():
    with pytest.raises(UserError, match="gave up after 3 tries"):
        read("http://127.0.0.1:9/part.npy", 10)


def answer(status, content=b"", **headers):
    """Let every request be answered alike."""
    return httpx.MockTransport(
        lambda request: httpx.Response(status, content=content, headers=headers)
    )


@pytest.mark.parametrize(
    ("transport", "message"),
    [
        (answer(200, b"whole"), "ignores byte ranges and would send the whole file"),
        (answer(206, b"x"), "the server answered 206"),
        (answer(206, b"x", **{"Content-Range": "bytes 5-5/9"}), "sent other bytes"),
        (answer(206, b"xyz", **{"Content-Range": "bytes 0-0/9"}), "3 bytes came instead of 1"),
    ],
)
def test_wrong_answers_are_refused(monkeypatch, transport, message):
    client = httpx.Client(transport=transport)
    monkeypatch.setattr(httpx, "Client", lambda **_: client)
    with pytest.raises(UserError, match=message):
        open_ranges("http://host/file")


def test_a_body_of_a_server_without_ranges_is_not_read(monkeypatch):
    def endless():
        while True:
            yield b"x" * 1000

    client = httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, content=endless()))
    )
    monkeypatch.setattr(httpx, "Client", lambda **_: client)
    with pytest.raises(UserError, match="ignores byte ranges"):
        open_ranges("https://host/file")


def test_a_file_that_changes_is_refused(server, tmp_path):
    server.files[URL_PATH] = bytes(100)
    remote = open_ranges(f"{server.url}{URL_PATH}")
    server.files[URL_PATH] = bytes(200)
    with pytest.raises(UserError, match="changed while it was read"):
        remote.read(0, 10)
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    local = open_ranges(str(path))
    path.write_bytes(bytes(50))
    with pytest.raises(UserError, match="became shorter"):
        local.read(40, 20)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "a.npy: no such file"),
        (bytes(9), "9 bytes are not a whole number of uint16"),
        (b"", "holds 0 tokens, fewer than the 8"),
        (bytes(14), "holds 7 tokens, fewer than the 8 of skip_sequences and num_sequences"),
        (b"\x93NUMPY" + bytes(20), "has a NumPy header"),
        (b"\xff" * 20, f"token id 65535 is outside the tokenizer's vocabulary of {VOCAB_SIZE}"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "a.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as refusal:
        read(path, 8)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_file_that_may_be_shorter_is_read_to_its_end(tmp_path):
    path = write(tmp_path / "a.npy", [7, 7, EOS_ID, 8, 8])
    whole = [each.token_ids.tolist() for each in read(path, 100, may_be_shorter=True)]
    assert whole == [[7, 7, EOS_ID], [8, 8]]
    begun = [each.token_ids.tolist() for each in read(path, 4, may_be_shorter=True)]
    assert begun == [[7, 7, EOS_ID], [8]]
    assert read(write(tmp_path / "empty.npy", []), 8, may_be_shorter=True) == []


def test_a_file_without_ends_of_text_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(token_files, "MAX_DOCUMENT_TOKENS", 50)
    monkeypatch.setattr(token_files, "BLOCK_BYTES", 40)
    path = write(tmp_path / "a.npy", np.full(100, 7))
    with pytest.raises(UserError, match=r"no end-of-text token \(id 0\) within 50 tokens"):
        read(path, 100)
    assert len(read(path, 40)) == 1
