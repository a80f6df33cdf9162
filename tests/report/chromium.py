"""Chromium without a window, driven through its DevTools pipe with nothing but the standard library."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# The browser reads commands from descriptor 3 and writes answers to 4; the copies keep both ends clear of these.
LAUNCH = """
import fcntl, os, sys
reading, writing = (fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3])
os.dup2(reading, 3)
os.dup2(writing, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}


def find_chromium() -> str | None:
    """Return the path of an installed Chromium or Chrome."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page in a browser of its own; ends with the `with` block."""

    def __init__(self, program: str, folder: Path, *, width: int = 1200, height: int = 1000) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
        options += ["--disable-dev-shm-usage", "--disable-background-networking"]
        options += ["--remote-debugging-pipe", f"--user-data-dir={folder}", f"--window-size={width},{height}"]

        ends = (to_browser, from_browser)
        self._process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, *map(str, ends), program, *options, "about:blank"],
            pass_fds=ends,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._answers = os.fdopen(self._read, "rb")
        self._buffer, self._number, self._session = b"", 0, None
        targets = self._command("Target.getTargets")["targetInfos"]
        target = next(info["targetId"] for info in targets if info["type"] == "page")
        self._session = self._command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._command(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._write)  # the browser ends with its pipe
        self._answers.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def open(self, path: Path, fragment: str = "") -> None:
        """Load a file and wait until the page says that it is ready."""
        self._command("Page.navigate", url="about:blank")
        self._command("Page.navigate", url=path.as_uri() + fragment)
        self.wait("document.documentElement?.dataset.ready === 'yes'")

    def wait(self, condition: str, seconds: float = 20) -> None:
        """Wait until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.ask(condition):
            assert time.monotonic() < end, f"not true within {seconds} s: {condition}; errors: {self.errors}"
            time.sleep(0.05)

    def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        answer = self._command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def resize(self, width: int, height: int) -> None:
        """Give the page another size in CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._command("Emulation.setDeviceMetricsOverride", **metrics)

    def theme(self, name: str) -> None:
        """Ask for the `light` or `dark` theme, as a reader's system does."""
        self._command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one point of the window, move it in steps, and let go at another."""
        mouse = "Input.dispatchMouseEvent"
        self._command(mouse, type="mousePressed", x=start[0], y=start[1], button="left", clickCount=1)
        for step in (0.25, 0.5, 0.75, 1.0):
            x, y = (a + step * (b - a) for a, b in zip(start, end, strict=True))
            self._command(mouse, type="mouseMoved", x=x, y=y, button="left", buttons=1)
        self._command(mouse, type="mouseReleased", x=end[0], y=end[1], button="left", clickCount=1)

    def touch(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Put a finger down, move it and lift it."""
        touch = "Input.dispatchTouchEvent"
        self._command(touch, type="touchStart", touchPoints=[{"x": start[0], "y": start[1]}])
        self._command(touch, type="touchMove", touchPoints=[{"x": end[0], "y": end[1]}])
        self._command(touch, type="touchEnd", touchPoints=[])

    def click(self, selector: str) -> None:
        """Click the middle of an element."""
        self.ask(
            f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block: 'center', behavior: 'instant'}})"
        )
        middle = self.middle(selector)
        self.drag(middle, middle)

    def middle(self, selector: str) -> tuple[float, float]:
        """Return the middle of an element in the window."""
        box = self.ask(f"document.querySelector({json.dumps(selector)}).getBoundingClientRect().toJSON()")
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key, such as `ArrowLeft`, where the focus is."""
        names = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        for kind in ("keyDown", "keyUp"):
            self._command("Input.dispatchKeyEvent", type=kind, modifiers=8 if shift else 0, **names)

    def screenshot(self, *, full: bool = False) -> bytes:
        """Return the page as PNG; with `full` all of it, else what the window shows."""
        answer = self._command("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        return base64.b64decode(answer["data"])

    def _command(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], 60)
            assert ready, "the browser has not answered for a minute"
            part = os.read(self._answers.fileno(), 1 << 20)
            assert part, "the browser has ended"
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)
