"""How the hub answers: refs, revisions, trees, file contents with ETag and Range, and errors."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from tests.invented.hub_server import HubServer

LFS_SUFFIXES = {".safetensors", ".bin", ".pt", ".parquet", ".npy", ".gz", ".zst"}
TAG = "refs/tags/"


@dataclass(frozen=True)
class Request:
    """One request as the server saw it; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def range(self) -> str | None:
        return self.headers.get("range")


def git_blob_id(content: bytes) -> str:
    """Return git's id of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def is_lfs(path: str) -> bool:
    """Return whether the hub would store a file outside git."""
    return PurePosixPath(path).suffix in LFS_SUFFIXES


class _NotFoundError(Exception):
    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class HubHandler(BaseHTTPRequestHandler):
    """Answers one connection of a ``HubServer``."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer("GET")

    def do_HEAD(self):
        self._answer("HEAD")

    def do_POST(self):
        self._answer("POST")

    def _answer(self, method: str) -> None:
        self.hub: HubServer = self.server.hub
        self.method = method
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.body = self.rfile.read(int(headers.get("content-length", 0)))
        self.request_seen = Request(method, self.path, headers)
        self.hub.record(self.request_seen)
        self.fault = self.hub.take_fault(self.request_seen)
        if self.fault and self.fault.status:
            self._send(self.fault.status, b"{}", self.fault.headers)
            return
        try:
            self._route()
        except _NotFoundError as error:
            headers = {"X-Error-Code": error.code, "X-Error-Message": str(error)}
            self._send(HTTPStatus.NOT_FOUND, b"{}", headers)

    def _route(self) -> None:
        split = urlsplit(self.path)
        self.query = parse_qs(split.query)
        parts = [unquote(part) for part in split.path.strip("/").split("/")]
        if unquote(split.path) in self.hub.files:
            self._send_file(self.hub.files[unquote(split.path)])
        elif parts[0] == "cdn":
            self._send_file(self._blob(parts[1]))
        elif not self._is_authorised():
            self._send(HTTPStatus.UNAUTHORIZED, b"{}", {"X-Error-Message": "Invalid credentials"})
        elif parts[0] == "api" and len(parts) >= 4:
            self._route_api(parts[1], "/".join(parts[2:4]), parts[4:])
        elif "resolve" in parts:
            at = parts.index("resolve")
            self._resolve("/".join(parts[:at]), parts[at + 1], "/".join(parts[at + 2 :]))
        else:
            raise _NotFoundError("EntryNotFound", f"no such page: {split.path}")

    def _is_authorised(self) -> bool:
        expected = f"Bearer {self.hub.token}"
        return self.hub.token is None or self.headers.get("Authorization") == expected

    def _route_api(self, kind: str, repo: str, rest: list[str]) -> None:
        repo_key = repo if kind == "models" else f"{kind}/{repo}"
        what, revision, *path = (rest or ["info"]) + ["main"] * (len(rest) < 2)
        match what:
            case "refs":
                self._send_json(self._refs(repo_key))
            case "info" | "revision":
                self._send_json(self._info(repo_key, repo, revision))
            case "tree":
                self._send_json(self._tree(repo_key, revision, "/".join(path)))
            case "paths-info":
                wanted = parse_qs(self.body.decode()).get("paths", [])
                entries = self._entries(repo_key, revision)
                self._send_json([entry for entry in entries if entry["path"] in wanted])
            case _:
                raise _NotFoundError("EntryNotFound", f"no such call: {what}")

    def _files(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]]:
        refs = self._repo(repo)
        for ref, files in refs.items():
            commit = self.hub.commit(repo, ref)
            if revision in {ref, ref.removeprefix(TAG), commit}:
                return commit, files
        raise _NotFoundError("RevisionNotFound", f"no such revision: {revision}")

    def _repo(self, repo: str) -> dict[str, dict[str, bytes]]:
        if repo not in self.hub.repos:
            raise _NotFoundError("RepoNotFound", "Repository not found")
        return self.hub.repos[repo]

    def _refs(self, repo: str) -> dict[str, list[dict[str, str]]]:
        lists: dict[str, list[dict[str, str]]] = {"branches": [], "tags": [], "converts": []}
        for ref in self._repo(repo):
            commit = self.hub.commit(repo, ref)
            name = ref.removeprefix(TAG)
            full = ref if ref.startswith(TAG) else f"refs/heads/{ref}"
            lists["tags" if ref.startswith(TAG) else "branches"].append(
                {"name": name, "ref": full, "targetCommit": commit}
            )
        return lists

    def _info(self, repo_key: str, repo: str, revision: str) -> dict[str, object]:
        commit, files = self._files(repo_key, revision)
        with_metadata = "blobs" in self.query
        siblings = []
        for path, content in sorted(files.items()):
            sibling: dict[str, object] = {"rfilename": path}
            if with_metadata:
                sibling |= {"size": len(content), "blobId": git_blob_id(content)}
                if is_lfs(path):
                    sha256 = hashlib.sha256(content).hexdigest()
                    sibling["lfs"] = {"size": len(content), "sha256": sha256, "pointerSize": 134}
            siblings.append(sibling)
        return {"id": repo, "sha": commit, "private": False, "siblings": siblings, "tags": []}

    def _entries(self, repo: str, revision: str) -> list[dict[str, object]]:
        _, files = self._files(repo, revision)
        entries: list[dict[str, object]] = []
        folders = {str(folder) for path in files for folder in PurePosixPath(path).parents}
        for folder in sorted(folders - {"."}):
            oid = hashlib.sha1(folder.encode()).hexdigest()
            entries.append({"type": "directory", "path": folder, "oid": oid, "size": 0})
        for path, content in sorted(files.items()):
            entry: dict[str, object] = {
                "type": "file", "path": path, "oid": git_blob_id(content), "size": len(content)
            }  # fmt: skip
            if is_lfs(path):
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
            entries.append(entry)
        return entries

    def _tree(self, repo: str, revision: str, folder: str) -> list[dict[str, object]]:
        entries = self._entries(repo, revision)
        if folder and not any(entry["path"] == folder for entry in entries):
            raise _NotFoundError("EntryNotFound", f"no such folder: {folder}")
        root = PurePosixPath(folder)
        is_recursive = self.query.get("recursive", ["false"])[0].lower() == "true"
        return [
            entry
            for entry in entries
            for parents in [PurePosixPath(str(entry["path"])).parents]
            if (root in parents if is_recursive else root == parents[0])
        ]

    def _resolve(self, repo: str, revision: str, path: str) -> None:
        commit, files = self._files(repo, revision)
        if path not in files:
            raise _NotFoundError("EntryNotFound", f"no such file: {path}")
        content = files[path]
        headers = {"X-Repo-Commit": commit}
        if not is_lfs(path):
            self._send_file(content, headers | {"ETag": f'"{git_blob_id(content)}"'})
            return
        sha256 = hashlib.sha256(content).hexdigest()
        headers |= {
            "X-Linked-Etag": f'"{sha256}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"{self.hub.cdn_url}/{sha256}/{PurePosixPath(path).name}",
        }
        self._send(HTTPStatus.FOUND, b"", headers)

    def _blob(self, sha256: str) -> bytes:
        for refs in self.hub.repos.values():
            for files in refs.values():
                for content in files.values():
                    if hashlib.sha256(content).hexdigest() == sha256:
                        return content
        raise _NotFoundError("EntryNotFound", "no such blob")

    def _send_file(self, content: bytes, headers: dict[str, str] | None = None) -> None:
        headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"} | (
            headers or {}
        )
        if self.fault and self.fault.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 0xFF])
        if self.fault and self.fault.truncate_to_bytes is not None:
            content = content[: self.fault.truncate_to_bytes]
        wanted = self.headers.get("Range")
        if wanted is None:
            self._send(HTTPStatus.OK, content, headers, is_file=True)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        begin = int(first) if first else max(len(content) - int(last), 0)
        end = min(int(last) + 1, len(content)) if first and last else len(content)
        if begin >= len(content):
            headers["Content-Range"] = f"bytes */{len(content)}"
            self._send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", headers)
            return
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(content)}"
        self._send(HTTPStatus.PARTIAL_CONTENT, content[begin:end], headers, is_file=True)

    def _send_json(self, value: object) -> None:
        headers = {"Content-Type": "application/json"}
        self._send(HTTPStatus.OK, json.dumps(value).encode(), headers)

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], *, is_file: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.method == "HEAD":
            return
        if self.fault and self.fault.cut_after_bytes is not None:
            body = body[: self.fault.cut_after_bytes]
            self.close_connection = True
        if is_file:  # before the client has it, and asks how much was sent
            self.hub.count_sent(len(body))
        self.wfile.write(body)
