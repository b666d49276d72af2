"""A headless Chromium that is told what to do over a pipe, by the DevTools protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

CHROMIUM = shutil.which("chromium")

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars")


class Browser:
    """One tab of a running Chromium."""

    def __init__(self, to: BinaryIO, back: BinaryIO) -> None:
        self.to, self.back = to, back
        self.messages: deque[bytes] = deque([b""])
        self.session: dict[str, str] = {}
        self.number = 0
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        self.call("Page.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the answer to a command; events in between are passed over."""
        self.number += 1
        command = {"id": self.number, "method": method, "params": params, **self.session}
        self.to.write(json.dumps(command).encode() + b"\0")
        while (answer := self._read()).get("id") != self.number:
            pass
        assert "error" not in answer, (method, answer["error"])
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self) -> dict[str, Any]:
        """Return the next message; the last of ``messages`` is one that is not whole yet."""
        while len(self.messages) < 2:
            parts = (self.messages.pop() + self.back.read(65536)).split(b"\0")
            self.messages.extend(parts)
        found: dict[str, Any] = json.loads(self.messages.popleft())
        return found

    def open(self, page: Path) -> None:
        """Load a file, and wait until it and its images are there."""
        self.call("Page.navigate", url=page.as_uri())
        while self._read().get("method") != "Page.loadEventFired":
            pass

    def look(self, width: int, *, media: str = "", scheme: str = "light") -> None:
        """Set the width of the window in pixels, and, unless that is empty, the medium."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", media=media, features=features)

    def ask(self, script: str) -> Any:
        """Return the value of an expression, of a promise what it comes to."""
        asked = {"expression": script, "returnByValue": True, "awaitPromise": True}
        answer = self.call("Runtime.evaluate", **asked)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str, text: str = "") -> None:
        """Press and release a key."""
        code = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39}[key]
        told = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **told)
        self.call("Input.dispatchKeyEvent", type="keyUp", **told)

    def print(self, width_inches: float, height_inches: float) -> bytes:
        """Return the page as PDF, with the margins of its style."""
        size = {"paperWidth": width_inches, "paperHeight": height_inches}
        return base64.b64decode(self.call("Page.printToPDF", **size)["data"])


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """Start Chromium with a profile of its own, and end it."""
    assert CHROMIUM
    for name in ("to", "back"):
        os.mkfifo(folder / name)
    arguments = [CHROMIUM, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={folder}/profile"]
    process = subprocess.Popen(
        ["bash", "-c", 'exec "$@" 3<to 4>back', "chromium", *arguments],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with (folder / "to").open("wb", buffering=0) as to, (folder / "back").open("rb", 0) as back:
        browser = Browser(to, back)
        yield browser
        browser.session = {}
        browser.call("Browser.close")
    process.wait(timeout=10)
