"""A page in headless Chromium, driven over the DevTools protocol with tornado, which Lyot needs anyway."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def chromium() -> str | None:
    """Path of a Chromium; None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: WebSocketClientConnection) -> None:
        self._loop, self._socket, self._count = loop, socket, 0
        self.errors: list[str] = []
        """Exceptions of scripts and messages of level error, in the order in which they came."""
        self.requests: list[str] = []
        """Addresses that were asked for, without those inside the page."""

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer."""
        self._count += 1
        return self._loop.run_until_complete(asyncio.wait_for(self._answer(self._count, method, params), 60))

    async def _answer(self, number: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
        await self._socket.write_message(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            text = await self._socket.read_message()
            assert text is not None, "the browser has gone"
            message = json.loads(text)
            if message.get("id") == number:
                assert "error" not in message, message["error"]
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(str(details.get("exception", {}).get("description", details["text"])))
        if message.get("method") == "Network.requestWillBeSent":
            url = params["request"]["url"]
            self.requests += [] if url.startswith(("data:", "blob:")) else [url]

    def open(self, path: Path) -> None:
        """Open a file and wait until it is loaded."""
        for domain in ("Runtime", "Page", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=path.absolute().as_uri())
        self.wait("document.readyState === 'complete'")

    def js(self, expression: str) -> Any:
        """Value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 60.0) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.js(f"Boolean({expression})"):
            assert time.monotonic() < end, f"not true within {seconds:g} s: {expression}; {self.errors}"
            time.sleep(0.1)

    def center(self, selector: str) -> tuple[float, float]:
        """Where the middle of an element is in the window, after it was scrolled into view."""
        box = self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return float(box[0]), float(box[1])

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Send an event of the mouse."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, selector: str) -> None:
        """Click on an element with the mouse."""
        x, y = self.center(selector)
        self.mouse("mouseMoved", x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, x, y, button="left", clickCount=1)

    def key(self, key: str, *, shift: bool = False) -> None:
        """Press a key."""
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, modifiers=8 if shift else 0,
                      **(text if kind == "keyDown" else {}))  # fmt: skip

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a list, as a person's choice tells the page."""
        self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)};"
            "e.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )

    def size(self, width: int, height: int) -> None:
        """Set the size of the window."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen as PNG."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A new tab of a headless Chromium whose settings are in `folder`."""
    program = chromium()
    assert program is not None
    options = ["--headless=new", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={folder}",
               "--no-first-run", "--hide-scrollbars", "--window-size=1300,1000", "--disable-dev-shm-usage"]  # fmt: skip
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # Chromium refuses to run as root with it
    process = subprocess.Popen([program, *options, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    loop = asyncio.new_event_loop()
    try:
        port = _port(folder / "DevToolsActivePort")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=30) as answer:
            target = next(t for t in json.loads(answer.read()) if t["type"] == "page")
        socket = loop.run_until_complete(_connected(target["webSocketDebuggerUrl"]))
        yield Page(loop, socket)
        socket.close()
    finally:
        process.terminate()
        process.wait(timeout=30)
        loop.close()


async def _connected(url: str) -> WebSocketClientConnection:
    return await websocket_connect(url, max_message_size=1 << 28)


def _port(path: Path) -> int:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(path.read_text().splitlines()[0])
        time.sleep(0.1)
    raise AssertionError("Chromium did not start")
