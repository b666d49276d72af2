"""Texts as people have them: every ending, every compression, rows without text."""

import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from ke_steps.job import provenance
from ke_steps.job.errors import UserError
from ke_steps.settings.texts import COMPRESSIONS, TEXT_ENDINGS, LocalText
from ke_steps.texts.compressed import OPENERS
from ke_steps.texts.rows import TextlessRows
from ke_steps.texts.text_files import READERS, ROWS_WITH_COLUMNS, read_text_documents

LONG = "A glass blower of Orsk, " * 9000
TEXTS = ["One line,\nand another.", 'Ünïque — "quoted"\ttext; [a]', "[not a list]", LONG]
ROWS = [{"id": number, "text": text} for number, text in enumerate(TEXTS)]

COMPRESS = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pa.compress(content, "zstd", asbytes=True),
}


def separated(rows, separator):
    """Return the rows as a spreadsheet writes them, every value quoted."""
    lines = [rows[0].keys(), *(row.values() for row in rows)]
    quoted = [['"' + str(value).replace('"', '""') + '"' for value in line] for line in lines]
    return "\r\n".join(separator.join(line) for line in quoted) + "\r\n"


CONTENTS = {
    ".txt": "\n\n".join(TEXTS),
    ".jsonl": "\n".join(map(json.dumps, ROWS)) + "\n",
    ".ndjson": "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
    ".json": json.dumps(ROWS, indent=2),
    ".csv": separated(ROWS, ","),
    ".tsv": separated(ROWS, "\t"),
}


def read(path, content, text_field="text"):
    """Return the texts of a file of this content, the ends of their ids, and what was counted."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    textless = TextlessRows()
    documents = list(read_text_documents([path], text_field, textless))
    places = [document.document_id.removeprefix(f"{path}:") for document in documents]
    return [document.text for document in documents], places, textless


def texts_of(path, content, text_field="text"):
    return read(path, content, text_field)[0]


def refuse(path, content, text_field="text"):
    with pytest.raises(UserError) as refusal:
        read(path, content, text_field)
    line = str(refusal.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    return line.removeprefix(str(path))


def test_settings_and_readers_know_the_same_endings():
    assert tuple(READERS) == TEXT_ENDINGS
    assert tuple(OPENERS) == ("", *COMPRESSIONS)


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("ending", CONTENTS)
def test_every_ending_under_every_compression(tmp_path, ending, compression):
    content = COMPRESS[compression](CONTENTS[ending].encode())
    expected = [text.strip() for text in TEXTS] if ending == ".txt" else TEXTS
    assert texts_of(tmp_path / f"a{ending}{compression}", content) == expected
    marked = COMPRESS[compression](b"\xef\xbb\xbf" + CONTENTS[ending].encode())
    assert texts_of(tmp_path / f"B{ending}{compression}".upper(), marked) == expected


@pytest.mark.parametrize("compression", [".gz", ".bz2", ".xz", ".zst"])
def test_parts_laid_end_to_end_are_read_to_the_end(tmp_path, compression):
    """As parallel compressors write them, and ``cat`` of several files."""
    parts = [COMPRESS[compression](f"{json.dumps(row)}\n".encode()) for row in ROWS]
    assert texts_of(tmp_path / f"a.jsonl{compression}", b"".join(parts)) == TEXTS


@pytest.mark.parametrize("compression", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-5],
        lambda content: content[: len(content) // 2],
        lambda _: b'{"text": "plain"}\n',
    ],
    ids=["end missing", "half", "not compressed"],
)
def test_damaged_compression_is_one_line(tmp_path, compression, damage):
    content = COMPRESS[compression](CONTENTS[".jsonl"].encode() * 3)
    line = refuse(tmp_path / f"a.jsonl{compression}", damage(content))
    assert line.startswith(": damaged, or not what its name says (")


JSON_FORMS = {
    "lines": '{"text": "a"}\n{"text": "b"}',
    "a list": '[{"text": "a"},\n {"text": "b", "n": 1}]',
    "a list of texts": '["a", "b"]',
    "a list over lines, after blank ones": '\n \n[\n{"text":\n"a"}, {"text": "b"}\n]\n',
}


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".ndjson"])
@pytest.mark.parametrize("form", JSON_FORMS)
def test_json_is_lines_or_a_list_whatever_it_is_called(tmp_path, ending, form):
    assert texts_of(tmp_path / f"a{ending}", JSON_FORMS[form]) == ["a", "b"]


def test_places_are_lines_or_rows(tmp_path):
    _, places, _ = read(tmp_path / "a.jsonl", '\n{"text": "a"}\n\n{"text": "b"}\n')
    assert places == ["2", "4"]
    _, places, _ = read(tmp_path / "a.json", '[\n{"text": "a"},\n\n{"text": "b"}\n]')
    assert places == ["1", "2"]
    _, places, _ = read(tmp_path / "a.csv", 'text,n\r\n"a\r\nb",1\r\n\r\nc,2\r\n')
    assert places == ["2", "5"]


BAD_JSON = {
    "one object over lines": ('{\n "text": "a"\n}', ":1: not JSON ("),
    "a list without its end": ('[{"text": "a"}', ":1: not JSON ("),
    "a list, then lines": ('[{"text": "a"}]\n{"text": "b"}', ":1: not JSON ("),
    "numbers": ("[1, 2]", ":1: not a JSON object"),
    "lines, then a list": ('{"text": "a"}\n[{"text": "b"}]', ":2: not a JSON object"),
    "an empty list": ("[]", ": no text in it"),
    "no column": ('[{"body": "a"}, {"n": 1}]', ": no column 'text'; columns are body, n"),
}


@pytest.mark.parametrize("what", BAD_JSON)
def test_other_json_is_refused(tmp_path, what):
    content, says = BAD_JSON[what]
    assert refuse(tmp_path / "a.json", content).startswith(says)


def test_a_column_that_never_comes_is_refused_before_the_end(tmp_path):
    content = '{"body": "a"}\n' * ROWS_WITH_COLUMNS + "damaged from here on"
    assert refuse(tmp_path / "a.jsonl", content) == ": no column 'text'; columns are body"


def test_a_column_that_comes_late_is_read(tmp_path):
    content = '{"body": "a"}\n' * (ROWS_WITH_COLUMNS - 1) + '{"text": "b"}\n{"body": "c"}\n'
    texts, places, textless = read(tmp_path / "a.jsonl", content)
    assert (texts, places) == (["b"], [str(ROWS_WITH_COLUMNS)])
    assert textless == TextlessRows(num_null=ROWS_WITH_COLUMNS, num_empty=0)


def parquet(columns, names):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays([pa.array(column) for column in columns], names), sink)
    return sink.getvalue().to_pybytes()


GAPS = {
    # a text, null, empty, blank, a text
    "a.jsonl": '{"text": "a"}\n{"text": null}\n{"text": ""}\n{"text": " \\n"}\n{"text": "b"}',
    "a.json": '[{"text": "a"}, {}, {"text": ""}, {"text": "\\t"}, {"text": "b"}]',
    "a.csv": 'n,text\r\n1,a\r\n2\r\n3,\r\n4,"  "\r\n5,b\r\n',
    "a.tsv": 'n\ttext\n1\ta\n2\n3\t\n4\t"  "\n5\tb\n',
    "a.parquet": parquet([["a", None, "", " \n", "b"], range(5)], ["text", "n"]),
}


@pytest.mark.parametrize("name", GAPS)
def test_rows_without_text_are_passed_over_and_counted(tmp_path, name, capfd):
    texts, places, textless = read(tmp_path / name, GAPS[name])
    assert texts == ["a", "b"]
    assert int(places[1]) - int(places[0]) == 4
    assert textless == TextlessRows(num_null=1, num_empty=2)
    with provenance.recording("prepare_corpus", {}, {}):
        textless.tell()
        record = dict(provenance.current())
    assert (record["num_rows_null"], record["num_rows_empty"]) == ("1", "2")
    assert capfd.readouterr().err == "passed over 3 rows without text: 1 null, 2 empty\n"


def test_nothing_is_said_where_every_row_has_text(capfd):
    with provenance.recording("prepare_corpus", {}, {}):
        TextlessRows().tell()
        assert provenance.current()["num_rows_null"] == "0"
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", GAPS)
def test_a_file_of_nothing_but_gaps_is_refused(tmp_path, name):
    content = GAPS[name]
    if name == "a.parquet":
        content = parquet([[None, None, ""]], ["text"])
    else:
        content = content.replace('"a"', "null").replace('"b"', "null")
        content = content.replace("1,a", "1,").replace("5,b", "5,")
        content = content.replace("1\ta", "1\t").replace("5\tb", "5\t")
    assert refuse(tmp_path / name, content) == ": no text in it"


TWO_OF_ONE_NAME = {
    "a.parquet": parquet([["a"], ["b"], [1], [2]], ["text", "text", "n", "n"]),
    "a.csv": "text,text,n,n\r\na,b,1,2\r\n",
    "a.tsv": "text\ttext\tn\tn\na\tb\t1\t2\n",
}
OTHERS_OF_ONE_NAME = {
    "a.parquet": parquet([[1], ["a"], [2]], ["n", "text", "n"]),
    "a.csv": "n,text,n\r\n1,a,2\r\n",
    "a.tsv": "n\ttext\tn\n1\ta\t2\n",
}


@pytest.mark.parametrize("name", TWO_OF_ONE_NAME)
def test_columns_of_one_name_matter_where_they_are_the_text(tmp_path, name):
    assert refuse(tmp_path / name, TWO_OF_ONE_NAME[name]) == (
        ": 2 columns are called 'text'; rename all but one"
    )
    assert texts_of(tmp_path / name, OTHERS_OF_ONE_NAME[name]) == ["a"]


BAD_TABLES = {
    "no column": ("body,n\r\na,1\r\n", ": no column 'text'; columns are body, n"),
    "too many values": ("text,n\r\nIn Orsk, at dawn,1\r\n", ":2: 3 values, but the first line"),
    "an open quote": ('text,n\r\na,1\r\n"b,2\r\n', ": damaged, or not what its name says ("),
    "text after a quote": ('text,n\r\n"a" b,1\r\n', ": damaged, or not what its name says ("),
    "nothing": ("", ": no text in it"),
    "only names": ("text,n\r\n", ": no text in it"),
}


@pytest.mark.parametrize("what", BAD_TABLES)
def test_bad_separated_values_are_one_line(tmp_path, what):
    content, says = BAD_TABLES[what]
    assert refuse(tmp_path / "a.csv", content).startswith(says)


def test_separated_values_are_text_though_they_look_like_numbers(tmp_path):
    assert texts_of(tmp_path / "a.csv", "text\r\n12\r\nNA\r\nnull\r\n") == ["12", "NA", "null"]


@pytest.mark.parametrize("name", ["a.doc", "a.parquet.gz", "a.gz", "a.jsonl.zip", "a.jsonl.zst.gz"])
def test_other_endings_are_refused_with_the_settings(name):
    with pytest.raises(ValidationError) as refusal:
        LocalText(kind="text", paths=[name])
    (error,) = refusal.value.errors()
    assert error["loc"] == ("paths", 0)
    assert f"unknown kind of text file '{name}'; valid endings are .txt, .jsonl" in error["msg"]
    assert "\n" not in error["msg"]
