"""Datasets streamed by the real ``datasets`` from a hub on loopback.

``datasets`` reads HF_ENDPOINT when it is imported, so all cases run in one process of their own.
"""

import bz2
import gzip
import hashlib
import itertools
import json
import lzma
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ke_steps.artefacts.parquet import read_frame
from ke_steps.artefacts.text_schemas import DOCUMENTS, sequences_schema
from ke_steps.settings.texts import HubDatasetText, PresetText, TokenFileText, WorldText
from ke_steps.study.presets import expand
from ke_steps.texts.rows import TextlessRows
from ke_steps.texts.text_files import read_text_documents
from ke_steps.texts.tokenizers import load_tokenizer
from tests.invented.hub_server import TAG, HubServer

READ_ALL = """
import itertools, json, sys
from ke_steps import prepare_corpus
from ke_steps.hub import calls
from ke_steps.job import provenance
from ke_steps.job.command_line import main
from ke_steps.job.errors import UserError
from ke_steps.settings.texts import HubDatasetText
from ke_steps.texts.hub_datasets import read_hub_documents
from ke_steps.texts.rows import TextlessRows

calls.WAITS_SECONDS = (0, 0, 0)
for line in sys.stdin:
    case = json.loads(line)
    if "arguments" in case:
        main(prepare_corpus.run, case["arguments"])
        print(json.dumps({"heavy": sorted({"torch", "transformers"} & set(sys.modules))}))
        continue
    source = HubDatasetText(kind="hub_dataset", **case["source"])
    textless = TextlessRows()
    with provenance.recording("prepare_corpus", {}, {}):
        try:
            documents = read_hub_documents(source, textless)
            result = {"documents": list(itertools.islice(documents, case.get("take")))}
        except UserError as error:
            result = {"error": str(error)}
        result["textless"] = [textless.num_null, textless.num_empty]
        result["commit"] = provenance.current().get(f"commit of {source.repo}")
    print(json.dumps(result), flush=True)
"""

ROWS = [{"id": f"d{n}", "text": f"text number {n}", "n": n} for n in range(600)]
CARD = b"""---
configs:
- config_name: en
  data_files: en/*.json.gz
- config_name: de
  data_files: de/*.json.gz
---
"""


def json_lines(rows):
    return "\n".join(map(json.dumps, rows)).encode()


def parquet(rows):
    return pd.DataFrame(rows).to_parquet()


def parquet_of(names, *columns):
    """Return Parquet whose columns may share a name."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays([pa.array(column) for column in columns], names), sink)
    return sink.getvalue().to_pybytes()


def zstandard(content):
    return pa.compress(content, "zstd", asbytes=True)


LINES = json_lines(ROWS[:5])
AS_PEOPLE_HAVE_THEM = {
    "train.json": LINES,
    "train.ndjson": LINES,
    "list.json": json.dumps(ROWS[:5]).encode(),
    "texts.json": json.dumps([row["text"] for row in ROWS[:5]]).encode(),
    "train.jsonl.gz": gzip.compress(LINES),
    "train.jsonl.bz2": bz2.compress(LINES),
    "train.jsonl.xz": lzma.compress(LINES),
    "train.jsonl.zst": zstandard(LINES),
    "train.json.zst": zstandard(LINES[:30]) + zstandard(LINES[30:]),
    "train.csv": pd.DataFrame(ROWS[:5]).to_csv(index=False).encode(),
    "train.tsv.gz": gzip.compress(pd.DataFrame(ROWS[:5]).to_csv(index=False, sep="\t").encode()),
    "train.txt": "\n".join(row["text"] for row in ROWS[:5]).encode(),
    "train.parquet": parquet(ROWS[:5]),
    "others.parquet": parquet_of(
        ["n", "text", "n"], range(5), [row["text"] for row in ROWS[:5]], range(5)
    ),
}
"""The same five texts in a file of each kind."""


REPOS = {
    "datasets/o/plain": {
        "main": {"chunk/a.jsonl": json_lines(ROWS[:400]), "chunk/b.jsonl": json_lines(ROWS[400:])},
        f"{TAG}v1": {"chunk/a.jsonl": json_lines(ROWS[:3])},
    },
    "datasets/o/subsets": {
        "main": {
            "README.md": CARD,
            "en/train-0.json.gz": gzip.compress(json_lines(ROWS[:5])),
            "de/train-0.json.gz": gzip.compress(json_lines(ROWS[5:9])),
        }
    },
    "datasets/o/shards": {
        "main": {f"data/train-{n:05d}.parquet": parquet(ROWS[n * 10 :][:10]) for n in range(30)}
    },
    "datasets/o/gaps": {
        "main": {
            "train.jsonl": json_lines([ROWS[0], {"text": None}, {"n": 1}, {"text": " "}, ROWS[1]])
        }
    },
    "datasets/o/gaps-of-parquet": {
        "main": {"train.parquet": parquet_of(["text"], ["text number 0", None, "", "text"])}
    },
    "datasets/o/gaps-of-csv": {"main": {"train.csv": b"text,n\ntext number 0,1\n,2\ntext,3\n"}},
    "datasets/o/two": {
        "main": {"train.parquet": parquet_of(["text", "text", "n"], ["a"], ["b"], [1])}
    },
    "datasets/o/truncated-zst": {"main": {"train.jsonl.zst": zstandard(json_lines(ROWS) * 9)[:-9]}},
    "datasets/o/damaged": {"main": {"train.jsonl": b'{"text": "x"}\n{"text": bad}\n'}},
    "datasets/o/truncated": {"main": {"train.json.gz": gzip.compress(json_lines(ROWS))[:2000]}},
    "datasets/o/empty": {"main": {"notes.xyz": b""}},
    "datasets/o/gated": {"main": {"train.jsonl": json_lines(ROWS)}},
    "datasets/o/hidden": {"main": {"train.jsonl": json_lines(ROWS)}},
    "datasets/o/shaky": {"main": {"train.jsonl": json_lines(ROWS)}},
    "datasets/o/busy": {"main": {"train.jsonl": json_lines(ROWS)}},
} | {
    f"datasets/o/{name}": {"main": {f"data/{name}": content}}
    for name, content in AS_PEOPLE_HAVE_THEM.items()
}

CASES = {
    "branch": {"source": {"repo": "o/plain", "revision": "main"}},
    "tag": {"source": {"repo": "o/plain", "revision": "v1", "id_field": "id"}},
    "shuffled": {"source": {"repo": "o/plain", "revision": "main", "id_field": "id", "seed": 3}},
    "again": {"source": {"repo": "o/plain", "revision": "main", "id_field": "id", "seed": 3}},
    "other seed": {"source": {"repo": "o/plain", "revision": "main", "id_field": "id", "seed": 4}},
    "subset": {"source": {"repo": "o/subsets", "revision": "main", "subset": "de"}},
    "beginning": {"source": {"repo": "o/shards", "revision": "main"}, "take": 3},
    "gaps": {"source": {"repo": "o/gaps", "revision": "main"}},
    "gaps of parquet": {"source": {"repo": "o/gaps-of-parquet", "revision": "main"}},
    "gaps of csv": {"source": {"repo": "o/gaps-of-csv", "revision": "main"}},
    "shaky": {"source": {"repo": "o/shaky", "revision": "main"}},
    "busy": {"source": {"repo": "o/busy", "revision": "main"}},
    "no repo": {"source": {"repo": "o/unknown", "revision": "main"}},
    "no revision": {"source": {"repo": "o/plain", "revision": "v9"}},
    "no subset": {"source": {"repo": "o/subsets", "revision": "main", "subset": "fr"}},
    "which subset": {"source": {"repo": "o/subsets", "revision": "main"}},
    "no split": {"source": {"repo": "o/plain", "revision": "main", "split": "test"}},
    "no column": {"source": {"repo": "o/plain", "revision": "main", "text_field": "body"}},
    "no id": {"source": {"repo": "o/plain", "revision": "main", "id_field": "pmid"}},
    "no text": {"source": {"repo": "o/plain", "revision": "main", "text_field": "n"}},
    "damaged": {"source": {"repo": "o/damaged", "revision": "main"}},
    "truncated": {"source": {"repo": "o/truncated", "revision": "main"}},
    "truncated zst": {"source": {"repo": "o/truncated-zst", "revision": "main"}},
    "two of one name": {"source": {"repo": "o/two", "revision": "main"}},
    "empty": {"source": {"repo": "o/empty", "revision": "main"}},
    "gated": {"source": {"repo": "o/gated", "revision": "main"}},
    "hidden": {"source": {"repo": "o/hidden", "revision": "main"}},
} | {name: {"source": {"repo": f"o/{name}", "revision": "main"}} for name in AS_PEOPLE_HAVE_THEM}
REFUSED = {
    "no repo": "dataset o/unknown at 'main': 127.0.0.1 answers 404: no such repo",
    "no revision": "dataset o/plain at 'v9': 127.0.0.1 answers 404: no such repo, revision",
    "no subset": "'fr' not found. Available: ['en', 'de']",
    "which subset": "['en', 'de']",
    "no split": "Bad split: test. Available splits: ['train']",
    "no column": "dataset o/plain: no column 'body'; columns are id, text, n",
    "no id": "dataset o/plain: no column 'pmid'; columns are id, text, n",
    "no text": "dataset o/plain: 'n' is int, not text",
    "damaged": "dataset o/damaged: cannot be read",
    "truncated": "dataset o/truncated: ",
    "truncated zst": "dataset o/truncated-zst: Truncated compressed stream",
    "two of one name": "dataset o/two: 2 columns are called 'text'",
    "empty": "dataset o/empty: ",
    "gated": "dataset o/gated: ",
    "hidden": "dataset o/hidden at 'main': 127.0.0.1 answers 403: your token may not read it",
}


@pytest.fixture(scope="module")
def hub():
    gated = {"X-Error-Code": "GatedRepo"}
    with HubServer(REPOS) as server:
        server.fail("o/gated/resolve", times=None, status=403, headers=gated)
        server.fail("datasets/o/hidden", times=None, status=403, headers=gated)
        server.fail("shaky/resolve", method="GET", times=1, status=503)
        server.fail("api/datasets/o/busy", times=2, status=429, headers={"Retry-After": "0"})
        yield server


def run(hub_url, home, *arguments, text="", **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        input=text,
        env=os.environ | {"HF_ENDPOINT": hub_url, "HF_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def results(hub, folder, tokenizer_manifest):
    settings = {
        "source": {"kind": "hub_dataset"} | CASES["tag"]["source"] | {"revision": "main"},
        "num_sequences": 100,
        "sequence_length_tokens": 16,
    }
    options = {
        "--settings": json.dumps(settings),
        "--tokenizer": str(tokenizer_manifest),
        "--output-sequences": str(folder / "sequences.parquet"),
        "--output-documents": str(folder / "documents.parquet"),
        "--record": str(folder / "record.json"),
    }
    step = {"arguments": list(itertools.chain.from_iterable(options.items()))}
    cases = CASES | {"step": step}
    lines = "\n".join(map(json.dumps, cases.values()))
    job = run(hub.url, folder, "-c", READ_ALL, text=lines)
    assert job.returncode == 0, job.stderr
    found = [json.loads(line) for line in job.stdout.splitlines()]
    return dict(zip(cases, found, strict=True))


def test_documents_in_their_order_with_their_place(results, hub):
    expected = [[str(n), row["text"]] for n, row in enumerate(ROWS)]
    assert results["branch"]["documents"] == expected
    assert results["branch"]["commit"] == hub.commit("datasets/o/plain", "main")
    assert results["shaky"]["documents"] == expected
    assert results["busy"]["documents"] == expected


def test_a_tag_is_resolved_to_its_commit(results, hub):
    assert results["tag"]["documents"] == [[row["id"], row["text"]] for row in ROWS[:3]]
    assert results["tag"]["commit"] == hub.commit("datasets/o/plain", f"{TAG}v1")


def test_all_requests_for_data_name_the_commit(results, hub):
    for ref in ["main", f"{TAG}v1"]:
        assert hub.find(f"resolve/{hub.commit('datasets/o/plain', ref)}/chunk/a.jsonl")
    assert not hub.find("o/plain/resolve/main") + hub.find("o/plain/resolve/v1")


def test_shuffling_is_seeded_and_complete(results):
    shuffled = results["shuffled"]["documents"]
    assert shuffled == results["again"]["documents"]
    assert shuffled != results["other seed"]["documents"]
    expected = [[row["id"], row["text"]] for row in ROWS]
    assert shuffled != expected
    assert sorted(shuffled) == sorted(expected)


def test_subset(results):
    assert [text for _, text in results["subset"]["documents"]] == [r["text"] for r in ROWS[5:9]]


def test_no_more_is_fetched_than_is_used(results, hub):
    assert len(results["beginning"]["documents"]) == 3
    fetched = {n for n in range(30) if hub.find(f"train-{n:05d}.parquet", method="GET")}
    assert 0 in fetched
    assert max(fetched) < 28


def test_rows_without_text_are_passed_over_and_counted(results):
    assert results["gaps"]["documents"] == [["0", ROWS[0]["text"]], ["4", ROWS[1]["text"]]]
    assert results["gaps"]["textless"] == [2, 1]
    for case, textless in {"gaps of parquet": [1, 1], "gaps of csv": [1, 0]}.items():
        texts = [text for _, text in results[case]["documents"]]
        assert (texts, results[case]["textless"]) == (["text number 0", "text"], textless)


@pytest.mark.parametrize("name", AS_PEOPLE_HAVE_THEM)
def test_every_kind_of_file(results, name):
    assert results[name].get("documents") == [
        [str(n), row["text"]] for n, row in enumerate(ROWS[:5])
    ]


@pytest.mark.parametrize("name", AS_PEOPLE_HAVE_THEM)
def test_local_files_give_the_texts_that_the_hub_gives(results, tmp_path, name):
    path = tmp_path / name
    path.write_bytes(AS_PEOPLE_HAVE_THEM[name])
    local = [text for _, text in read_text_documents([path], "text", TextlessRows())]
    if name == "train.txt":  # a document is a paragraph here, a line there
        local = local[0].split("\n")
    assert local == [text for _, text in results[name]["documents"]]


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_had_is_one_line(results, case):
    assert REFUSED[case] in results[case]["error"]
    assert "\n" not in results[case]["error"]


def test_a_gated_dataset_says_so(results):
    assert "gated" in results["gated"]["error"]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "streamed from the hub, which HF_HUB_OFFLINE forbids"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "no lasting connection to http://127.0.0.1:9"),
    ],
)
def test_out_of_reach_is_one_line(hub, tmp_path, environment, message):
    case = json.dumps(CASES["branch"])
    job = run(hub.url, tmp_path, "-c", READ_ALL, text=case, **environment)
    error = json.loads(job.stdout)["error"]
    assert error.startswith(f"dataset o/plain at 'main': {message}")
    assert "\n" not in error


def test_the_step_packs_a_dataset(results, hub, folder, tokenizer_manifest):
    assert results["step"] == {"heavy": []}
    tokenizer = load_tokenizer(tokenizer_manifest.parent)
    ids = [[*tokenizer.encode(row["text"]), tokenizer.eos_token_id] for row in ROWS]
    expected = list(itertools.chain.from_iterable(ids))[:1600]
    rows = read_frame(folder / "sequences.parquet", sequences_schema(16))["input_ids"]
    assert np.concatenate(rows.to_list()).tolist() == expected
    documents = read_frame(folder / "documents.parquet", DOCUMENTS)
    assert documents["document_id"].tolist() == [r["id"] for r in ROWS][: len(documents)]
    record = json.loads((folder / "record.json").read_text())
    assert record["commit of o/plain"] == hub.commit("datasets/o/plain", "main")
    joined = "".join(f"{value}\n" for value in documents["content_sha256"])
    assert record["content_sha256"] == hashlib.sha256(joined.encode()).hexdigest()


def test_presets_stand_for_fixed_data():
    dolma = expand(PresetText(kind="preset", name="dolma_first_batch"))
    assert isinstance(dolma, TokenFileText)
    assert dolma.dtype == "uint16"
    for name in ["pubmed_abstracts", "c4"]:
        source = expand(PresetText(kind="preset", name=name))
        assert isinstance(source, HubDatasetText)
        assert len(source.revision) == 40
    text = WorldText(kind="world", domain="continual")
    assert expand(text) is text
