"""Rows of a table that should each hold a text: what is one, and what is passed over."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ke_steps.job import provenance
from ke_steps.job.errors import UserError


@dataclass
class TextlessRows:
    """Counts the rows of a corpus that hold no text; public corpora have some."""

    num_null: int = 0
    num_empty: int = 0

    def text_of(self, value: object, text_field: str, *, where: str) -> str | None:
        """Return a row's text; None, and count it, where there is none.

        Raises:
            UserError: the value is not text.
        """
        if value is None:
            self.num_null += 1
            return None
        if not isinstance(value, str):
            raise UserError(f"{where}: {text_field!r} is {type(value).__name__}, not text")
        if not value or value.isspace():
            self.num_empty += 1
            return None
        return value

    def tell(self) -> None:
        """Note the numbers in the job's record; where there are any, say so on stderr."""
        provenance.note("num_rows_null", str(self.num_null))
        provenance.note("num_rows_empty", str(self.num_empty))
        if total := self.num_null + self.num_empty:
            print(
                f"passed over {total:,} rows without text: {self.num_null:,} null,"
                f" {self.num_empty:,} empty",
                file=sys.stderr,
            )


def place_of(name: str, columns: Sequence[str], *, where: str) -> int:
    """Return the place of a column, of whose name there must be one and no other.

    Raises:
        UserError: there is none, or several.
    """
    if name not in columns:
        raise UserError(f"{where}: no column {name!r}; columns are {', '.join(columns)}")
    if (count := columns.count(name)) > 1:
        raise UserError(f"{where}: {count} columns are called {name!r}; rename all but one")
    return columns.index(name)
