"""Parts of a large file, local or behind http(s), read without the rest."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Protocol

import httpx

from ke_steps.job.errors import UserError

RETRY_WAITS_SECONDS = (1.0, 2.0, 4.0, 8.0)

TIMEOUT_SECONDS = 30.0

PASSING_STATUS_CODES = frozenset({408, 429, 500, 502, 503, 504})

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class ByteRanges(Protocol):
    """A file of known size."""

    num_bytes: int

    def read(self, first: int, count: int) -> bytes:
        """Return exactly the bytes ``first`` … ``first + count - 1``, which the file must have."""


def open_ranges(location: str) -> ByteRanges:
    """Open a path or an http(s) URL.

    Raises:
        UserError: here or while reading: no such file, a server that refuses, ignores byte ranges
            or does not answer, or a file that changed its size meanwhile.
    """
    if re.match(r"https?://", location):
        return _RemoteFile(location)
    return _LocalFile(Path(location))


class _LocalFile:
    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"{path}: no such file")
        self._path = path
        self.num_bytes = path.stat().st_size

    def read(self, first: int, count: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(first)
            content = file.read(count)
        if len(content) < count:
            raise UserError(f"{self._path}: became shorter while it was read")
        return content


class _PassingError(Exception):
    """A failure that another try may not have."""


class _RemoteFile:
    def __init__(self, url: str) -> None:
        self._url = url
        self._client = httpx.Client(
            follow_redirects=True,
            timeout=TIMEOUT_SECONDS,
            headers={"Accept-Encoding": "identity"},  # a range of compressed bytes is useless
        )
        self.num_bytes = 0
        self.num_bytes = self._fetch(0, 1)[1]

    def read(self, first: int, count: int) -> bytes:
        content, num_bytes = self._fetch(first, count)
        if num_bytes != self.num_bytes:
            raise UserError(f"{self._url}: changed while it was read; start again")
        return content

    def _fetch(self, first: int, count: int) -> tuple[bytes, int]:
        """Return the bytes and the size of the whole file."""
        for wait in (*RETRY_WAITS_SECONDS, None):
            try:
                return self._try(first, count)
            except (httpx.TransportError, _PassingError) as error:
                if wait is None:
                    raise UserError(
                        f"{self._url}: gave up after {len(RETRY_WAITS_SECONDS) + 1} tries"
                        f" ({str(error) or type(error).__name__})"
                    ) from error
                time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _try(self, first: int, count: int) -> tuple[bytes, int]:
        wanted = {"Range": f"bytes={first}-{first + count - 1}"}
        with self._client.stream("GET", self._url, headers=wanted) as response:
            num_bytes = self._size_of_whole(response, first, count)
            content = response.read()
        if len(content) != count:
            raise _PassingError(f"{len(content)} bytes came instead of {count}")
        return content, num_bytes

    def _size_of_whole(self, response: httpx.Response, first: int, count: int) -> int:
        """Check an answer before its body is read, which may be the whole file."""
        status = f"{response.status_code} {response.reason_phrase}".strip()
        if response.status_code in PASSING_STATUS_CODES:
            raise _PassingError(f"the server answered {status}")
        if response.status_code == httpx.codes.OK:
            raise UserError(
                f"{self._url}: the server ignores byte ranges and would send the whole file;"
                " download it and give its path"
            )
        place = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if response.status_code != httpx.codes.PARTIAL_CONTENT or not place:
            raise UserError(f"{self._url}: the server answered {status}")
        if (int(place[1]), int(place[2])) != (first, first + count - 1):
            raise UserError(f"{self._url}: the server sent other bytes ({place[0]}) than asked for")
        return int(place[3])
