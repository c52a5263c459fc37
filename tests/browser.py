"""A page in a headless browser, driven with tornado, which Lyot needs anyway.

Chromium speaks the DevTools protocol, Firefox WebDriver BiDi; what a test does with a page is the same for both.
"""

from __future__ import annotations

import abc
import asyncio
import base64
import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.websocket import WebSocketClientConnection, websocket_connect

NAMES = {
    "chromium": ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    "firefox": ("firefox", "firefox-esr"),
}
"""Programs of each browser."""

BROWSERS = tuple(NAMES)

SPECIAL_KEYS = {
    "ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015", "Enter": "\ue007",
    "Shift": "\ue008",
}  # fmt: skip
"""Keys that are no characters, as WebDriver writes them."""


def program(name: str) -> str | None:
    """Path of a browser; None if there is none."""
    return next((path for known in NAMES[name] if (path := shutil.which(known))), None)


class Page(abc.ABC):
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
                assert "error" not in message, message
                return message["result"]
            self._note(message.get("method", ""), message.get("params", {}))

    @abc.abstractmethod
    def _note(self, event: str, params: dict[str, Any]) -> None:
        """Keep what an event says of errors and requests."""

    def _asked(self, url: str) -> None:
        self.requests += [] if url.startswith(("data:", "blob:")) else [url]

    @abc.abstractmethod
    def navigate(self, url: str) -> None:
        """Open an address."""

    def open(self, path: Path) -> None:
        """Open a file and wait until it is loaded."""
        self.navigate(path.absolute().as_uri())
        self.wait("document.readyState === 'complete'")

    @abc.abstractmethod
    def js(self, expression: str) -> Any:
        """Value of an expression in the page."""

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

    @abc.abstractmethod
    def move(self, x: float, y: float) -> None:
        """Move the mouse."""

    @abc.abstractmethod
    def click(self, selector: str) -> None:
        """Click on an element with the mouse."""

    @abc.abstractmethod
    def key(self, key: str, *, shift: bool = False) -> None:
        """Press a key."""

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a list, as a person's choice tells the page."""
        self.js(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)};"
            "e.dispatchEvent(new Event('change', {bubbles: true})); })()"
        )

    @abc.abstractmethod
    def size(self, width: int, height: int) -> None:
        """Set the size of the window."""

    @abc.abstractmethod
    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen as PNG."""

    @abc.abstractmethod
    def save_downloads(self, folder: Path) -> None:
        """Save what is downloaded from now on in a folder, unasked."""


class ChromiumPage(Page):
    """One tab of Chromium."""

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.errors.append(str(details.get("exception", {}).get("description", details["text"])))
        if event == "Runtime.consoleAPICalled" and params["type"] == "error":
            self.errors.append(str([a.get("value", a.get("description")) for a in params["args"]]))
        if event == "Network.requestWillBeSent":
            self._asked(params["request"]["url"])

    def navigate(self, url: str) -> None:
        for domain in ("Runtime", "Page", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)

    def js(self, expression: str) -> Any:
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def move(self, x: float, y: float) -> None:
        self._mouse("mouseMoved", x, y)

    def click(self, selector: str) -> None:
        x, y = self.center(selector)
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self._mouse(kind, x, y, button="left", clickCount=1)

    def key(self, key: str, *, shift: bool = False) -> None:
        text = {"text": "\r" if key == "Enter" else key} if len(key) == 1 or key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, modifiers=8 if shift else 0,
                      **(text if kind == "keyDown" else {}))  # fmt: skip

    def size(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))

    def save_downloads(self, folder: Path) -> None:
        self.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))


class FirefoxPage(Page):
    """One tab of Firefox."""

    def __init__(self, loop: asyncio.AbstractEventLoop, socket: WebSocketClientConnection) -> None:
        super().__init__(loop, socket)
        self.call("session.new", capabilities={})
        # the first window has no focus, and fields without it do not report that they were changed
        self.context = self.call("browsingContext.create", type="window")["context"]
        self.call("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
        self.size(1300, 1000)

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "log.entryAdded" and params["level"] == "error":
            self.errors.append(str(params["text"]))
        if event == "network.beforeRequestSent":
            self._asked(params["request"]["url"])

    def navigate(self, url: str) -> None:
        self.call("browsingContext.navigate", context=self.context, url=url, wait="complete")

    def js(self, expression: str) -> Any:
        # as text, since the protocol has a form of its own for every type
        result = self.call("script.evaluate", expression=f"JSON.stringify({expression})",
                           target={"context": self.context}, awaitPromise=False)  # fmt: skip
        assert result["type"] == "success", result["exceptionDetails"]["text"]
        return json.loads(result["result"].get("value", "null"))

    def _act(self, kind: str, actions: list[dict[str, Any]]) -> None:
        source = {"type": kind, "id": kind, "actions": actions}
        self.call("input.performActions", context=self.context, actions=[source])

    def move(self, x: float, y: float) -> None:
        self._act("pointer", [{"type": "pointerMove", "x": round(x), "y": round(y)}])

    def click(self, selector: str) -> None:
        self.move(*self.center(selector))
        self._act("pointer", [{"type": kind, "button": 0} for kind in ("pointerDown", "pointerUp")])

    def key(self, key: str, *, shift: bool = False) -> None:
        pressed = [*([SPECIAL_KEYS["Shift"]] if shift else []), SPECIAL_KEYS.get(key, key)]
        downs = [{"type": "keyDown", "value": value} for value in pressed]
        self._act("key", [*downs, *({"type": "keyUp", "value": value} for value in reversed(pressed))])

    def size(self, width: int, height: int) -> None:
        self.call("browsingContext.setViewport", context=self.context, viewport={"width": width, "height": height},
                  devicePixelRatio=1)  # fmt: skip

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        data = self.call("browsingContext.captureScreenshot", context=self.context,
                         origin="document" if whole else "viewport")["data"]  # fmt: skip
        path.write_bytes(base64.b64decode(data))

    def save_downloads(self, folder: Path) -> None:
        try:
            self.call("browser.setDownloadBehavior",
                      downloadBehavior={"type": "allowed", "destinationFolder": str(folder)})  # fmt: skip
        except AssertionError as error:
            if "unknown command" in str(error):  # of the older releases with long support
                pytest.skip("this Firefox cannot be told where to save what is downloaded")
            raise


@contextlib.contextmanager
def browser(folder: Path, name: str = "chromium") -> Iterator[Page]:
    """A new tab of a headless browser whose settings are in `folder`."""
    path = program(name)
    assert path is not None
    start = _chromium if name == "chromium" else _firefox
    command, connect = start(path, folder)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    loop = asyncio.new_event_loop()
    try:
        page = connect(loop)
        yield page
        page._socket.close()
    finally:
        process.terminate()
        process.wait(timeout=30)
        loop.close()


Connect = Callable[[asyncio.AbstractEventLoop], Page]


def _chromium(path: str, folder: Path) -> tuple[list[str], Connect]:
    options = ["--headless=new", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={folder}",
               "--no-first-run", "--hide-scrollbars", "--window-size=1300,1000", "--disable-dev-shm-usage"]  # fmt: skip
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # Chromium refuses to run as root with it

    def connect(loop: asyncio.AbstractEventLoop) -> Page:
        port = _started("Chromium", lambda: int((folder / "DevToolsActivePort").read_text().splitlines()[0]))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=30) as answer:
            target = next(t for t in json.loads(answer.read()) if t["type"] == "page")
        return ChromiumPage(loop, loop.run_until_complete(_connected(target["webSocketDebuggerUrl"])))

    return [path, *options, "about:blank"], connect


def _firefox(path: str, folder: Path) -> tuple[list[str], Connect]:
    options = ["--headless", "--no-remote", "--remote-debugging-port=0", "--profile", str(folder)]

    def connect(loop: asyncio.AbstractEventLoop) -> Page:
        server = folder / "WebDriverBiDiServer.json"
        port = _started("Firefox", lambda: int(json.loads(server.read_text())["ws_port"]))
        return FirefoxPage(loop, loop.run_until_complete(_connected(f"ws://127.0.0.1:{port}/session")))

    return [path, *options, "about:blank"], connect


async def _connected(url: str) -> WebSocketClientConnection:
    return await websocket_connect(url, max_message_size=1 << 28)


def _started(name: str, port: Callable[[], int]) -> int:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError, ValueError, IndexError, KeyError):
            return port()
        time.sleep(0.1)
    raise AssertionError(f"{name} did not start")
