"""A Hugging Face hub on loopback: as much of its protocol as the real clients use, with faults.

Model and dataset repositories come from a dictionary {repo: {ref: {path: bytes}}}; a dataset's repo
is ``datasets/<owner>/<name>``, a tag's ref ``refs/tags/<name>``. Large files are answered as the
hub does: with LFS metadata and a redirect to another host (``localhost``, not ``127.0.0.1``).

Example::

    with HubServer({"allenai/tiny": {"step1-tokens2B": {"config.json": b"{}"}}}) as hub:
        hub.fail("model.safetensors", cut_after_bytes=1000)
        HfApi(endpoint=hub.url).snapshot_download("allenai/tiny", revision="step1-tokens2B")
        assert hub.find("model.safetensors", method="GET")[1].range == "bytes=1000-"
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

from tests.invented.hub_protocol import TAG, HubHandler, Request, git_blob_id

__all__ = ["TAG", "Fault", "HubServer", "Request", "read_files"]


@dataclass
class Fault:
    """What goes wrong, ``times`` times (None: always), for paths that contain ``where``."""

    where: str
    method: str | None
    times: int | None
    status: int | None
    headers: dict[str, str]
    cut_after_bytes: int | None
    truncate_to_bytes: int | None
    corrupt: bool


@dataclass
class HubServer:
    """The server; ``repos`` and ``files`` may change while it runs.

    Attributes:
        repos: {repo: {ref: {path: content}}}.
        files: {absolute URL path: content}: raw files outside any repository, with Range.
        token: when set, requests to a repository without it are answered with 401.
        requests: every request so far, in order.
        sent_bytes: bytes of file contents sent so far.
    """

    repos: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    token: str | None = None
    requests: list[Request] = field(default_factory=list)
    sent_bytes: int = 0

    def __post_init__(self):
        self._faults: list[Fault] = []
        self._lock = Lock()

    def __enter__(self) -> HubServer:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), HubHandler)
        self._server.daemon_threads = True
        self._server.hub = self
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """The endpoint, as ``HF_ENDPOINT`` takes it."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def cdn_url(self) -> str:
        """Where redirects to file contents lead."""
        return f"http://localhost:{self._server.server_port}/cdn"

    def fail(
        self,
        where: str,
        *,
        method: str | None = None,
        times: int | None = 1,
        status: int | None = None,
        headers: dict[str, str] | None = None,
        cut_after_bytes: int | None = None,
        truncate_to_bytes: int | None = None,
        corrupt: bool = False,
    ) -> None:
        """Let the next requests go wrong whose path contains ``where``.

        Args:
            where: part of the path; a redirected file is also found by ``/cdn/<name of file>``.
            method: only GET, HEAD or POST.
            times: how often; None is always.
            status: answer this status, with ``headers`` (such as X-Error-Code, Retry-After).
            headers: of the failing answer.
            cut_after_bytes: promise the whole body, drop the connection after so many bytes.
            truncate_to_bytes: promise and send only so many bytes.
            corrupt: flip the bits of the body's last byte.
        """
        self._faults.append(
            Fault(
                where, method, times, status, headers or {},
                cut_after_bytes, truncate_to_bytes, corrupt,
            )
        )  # fmt: skip

    def find(self, where: str, *, method: str | None = None) -> list[Request]:
        """Return the requests whose path contains ``where``."""
        return [
            request
            for request in list(self.requests)
            if where in request.path and method in (None, request.method)
        ]

    def commit(self, repo: str, ref: str) -> str:
        """Return the commit (40 hex digits) that a ref of a repo points to."""
        digest = hashlib.sha1(repo.encode())
        for path, content in sorted(self.repos[repo][ref].items()):
            digest.update(f"{path} {git_blob_id(content)}\n".encode())
        return digest.hexdigest()

    def take_fault(self, request: Request) -> Fault | None:
        """Return the fault that strikes this request, if any, and count it."""
        with self._lock:
            for fault in self._faults:
                strikes = fault.where in request.path and fault.method in (None, request.method)
                if strikes and fault.times != 0:
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None

    def record(self, request: Request) -> None:
        """Log a request."""
        with self._lock:
            self.requests.append(request)

    def count_sent(self, num_bytes: int) -> None:
        """Count bytes of file contents sent."""
        with self._lock:
            self.sent_bytes += num_bytes


def read_files(directory: Path) -> dict[str, bytes]:
    """Return {path: content} of a folder's files, as a ref of a repo holds them."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
