"""Write the entries of a dictionary as running text: config/gcide.yaml's input, without a download.

The GNU Collaborative International Dictionary of English is Debian's package ``dict-gcide``. Its
entries come in a drawn order, as the alphabet's would make a course of letters of pretraining.

Example: ``python workflow/scripts/collect_gcide.py /usr/share/dictd/gcide.dict.dz data/gcide``
"""

import gzip
import json
import random
import re
import sys
from pathlib import Path

SOURCE = re.compile(r"\[[^][]*(?:Webster|WordNet|PJC|imac|aum)[^][]*\]")
"""Where an entry was taken from, after every sense."""


def entries(text: str) -> list[str]:
    """Return the entries, each in one line: a headword begins where a line is not indented."""
    found = re.split(r"\n(?=\S)", text)
    lines = (" ".join(SOURCE.sub("", entry).split()) for entry in found)
    return [line for line in lines if "\\" in line]  # the pronunciation; front matter has none


def main(dictionary: Path, folder: Path) -> None:
    """Write entries.jsonl."""
    with gzip.open(dictionary, "rt", encoding="utf-8", errors="replace") as file:
        found = entries(file.read())
    random.Random(0).shuffle(found)
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps({"text": entry}, ensure_ascii=False) + "\n" for entry in found)
    (folder / "entries.jsonl").write_text(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
