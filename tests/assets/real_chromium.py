"""A real Chromium without a window, driven over its DevTools pipe: pages, clicks, pictures, and an authenticator of its own.

Nothing between us and the browser: DevTools messages are JSON between zero bytes on two pipes (`--remote-debugging-pipe`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_PATIENCE = 180.0  # s for anything that a page does
_FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--disable-sync",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--mute-audio",
    "--remote-debugging-pipe",
]


def find_chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


def spki_of(certificate: Path) -> str:
    """What Chromium calls the key of a certificate, so that this one key is trusted and no other."""
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


class Chromium:
    """The browser. Args: trust: the certificate of the server that is visited."""

    def __init__(self, *, trust: Path) -> None:
        program = find_chromium()
        assert program is not None
        self._folder = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        ours_out, theirs_in = os.pipe()[::-1]
        theirs_out, ours_in = os.pipe()[::-1]

        def as_three_and_four() -> None:
            low, high = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(low, 3)
            os.dup2(high, 4)

        self._process = subprocess.Popen(
            [
                program,
                *_FLAGS,
                f"--user-data-dir={self._folder.name}",
                f"--ignore-certificate-errors-spki-list={spki_of(trust)}",
                "about:blank",
            ],
            pass_fds=(3, 4, theirs_in, theirs_out),
            preexec_fn=as_three_and_four,  # noqa: PLW1509 the pipe is at fixed numbers
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._out, self._in = ours_out, ours_in
        self._number, self._rest = 0, b""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.send("Browser.close")
        except (OSError, AssertionError):
            self._process.kill()
        self._process.wait(timeout=300)
        os.close(self._out)
        os.close(self._in)
        self._folder.cleanup()

    @contextmanager
    def page(self) -> Iterator[Page]:
        """A page in a context of its own: its cookies are nobody else's."""
        context = self.send("Target.createBrowserContext", disposeOnDetach=True)["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        yield Page(self, session)
        self.send("Target.disposeBrowserContext", browserContextId=context)

    def send(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """One command and its answer; what happens meanwhile goes to `events`."""
        self._number += 1
        message = {
            "id": self._number,
            "method": method,
            "params": params,
            **({"sessionId": session} if session else {}),
        }
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == self._number:
                assert "error" not in found, (method, found["error"])
                return found["result"]
            self.events.append(found)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._in], [], [], _PATIENCE)
            assert ready, "Chromium says nothing"
            piece = os.read(self._in, 1 << 20)
            assert piece, "Chromium has ended"
            self._rest += piece
        first, _, self._rest = self._rest.partition(b"\0")
        return json.loads(first)


class Page:
    """One page. What it loads, and what its console says against our policy, is in `requests` and `complaints`."""

    def __init__(self, browser: Chromium, session: str) -> None:
        self._browser, self._session, self.device = browser, session, ""
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)
        self.size(1100, 900)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.send(method, self._session, **params)

    def open(self, url: str) -> None:
        self.send("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """What an expression gives, a promise's result included, as if a person had clicked."""
        answer = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true, across page loads."""
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                if self.run(f"Boolean({script})"):
                    return
            except AssertionError as error:
                if "context" not in str(error) and "navigated" not in str(error):
                    raise
            if time.monotonic() >= end:
                said = self.run("document.body.innerText")
                raise AssertionError(f"{script} did not come true; the page says: {said}")
            select.select([], [], [], 0.02)

    def arrive(self, path: str) -> None:
        """Wait until the page at `path` is there, its script has run, and its buttons can be used."""
        self.until(
            f"location.pathname === {json.dumps(path)} && document.readyState === 'complete' && "
            "document.querySelector('button:enabled')"
        )

    def click(self, selector: str) -> None:
        self.until(f"document.querySelector({json.dumps(selector)})?.matches(':enabled')")
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def fill(self, selector: str, text: str) -> None:
        """As typed, letter by letter, into a field that is there and shown."""
        where = json.dumps(selector)
        self.until(f"document.querySelector({where})?.checkVisibility()")
        self.run(f"document.querySelector({where}).focus(); document.querySelector({where}).select()")
        self.send("Input.insertText", text=text)

    def text(self, selector: str = "body") -> str:
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def authenticator(self, *, verifies: bool = True) -> str:
        """A passkey device inside the browser. Args: verifies: it makes sure of its person."""
        self.send("WebAuthn.enable", enableUI=False)
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": verifies,
            "automaticPresenceSimulation": True,
        }
        self.device = str(self.send("WebAuthn.addVirtualAuthenticator", options=options)["authenticatorId"])
        return self.device

    def size(self, width: int, height: int) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def theme(self, name: str) -> None:
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def picture(self, path: Path) -> None:
        shown = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shown["data"]))

    def cookies(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.send("Network.getCookies")["cookies"]
        return found

    def happened(self, method: str, pick: Callable[[dict[str, Any]], Any]) -> list[Any]:
        """Of the events so far of this kind, what `pick` takes from each."""
        self.run("1")
        mine = (one for one in self._browser.events if one.get("sessionId") == self._session)
        return [pick(one["params"]) for one in mine if one["method"] == method]
