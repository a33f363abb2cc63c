"""How a provider is reached: https alone, within ten seconds and 128 KiB, no redirect followed, nothing of this machine."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import client_certificates
import pytest

from casemate.app import providers
from casemate.app.providers import MAX_ANSWER, ask_provider, provider_secret
from casemate.core import CasemateError, UpstreamError


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer(b"x" * (MAX_ANSWER + (self.path == "/flood")) if self.path in ("/full", "/flood") else b"{}")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        if self.path == "/slow":
            threading.Event().wait(3)
        self.send_response(302 if self.path == "/moved" else 200)
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        for piece in range(0, len(body), 1000):
            if self.path == "/drip":
                threading.Event().wait(3)
            self.wfile.write(body[piece : piece + 1000])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Its address, and the PEM of its authority."""
    folder: Path = tmp_path_factory.mktemp("provider")
    ca = client_certificates.authority()
    files = client_certificates.client(ca, dns="localhost", server=True).write(folder, "server")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*files)
    server.daemon_threads = True
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}", ca.pem.decode()
    server.shutdown()
    server.server_close()
    thread.join(5)


def ask(place: tuple[str, str], path: str, body: bytes | None = None) -> tuple[int, bytes]:
    return ask_provider(place[0] + path, ca=place[1], headers={}, body=body, is_allowed=lambda _: True)


def unreachable(why: str, call, *args, **kwargs) -> None:
    with pytest.raises(UpstreamError, match=why) as caught:
        call(*args, **kwargs)
    assert caught.value.code == "provider-unreachable"


def test_it_is_asked_and_told(place: tuple[str, str]) -> None:
    assert ask(place, "/discovery") == (200, b"{}")
    assert ask(place, "/token", b"code=1") == (200, b"code=1")
    assert len(ask(place, "/full")[1]) == MAX_ANSWER


def test_a_redirect_is_an_answer(place: tuple[str, str]) -> None:
    assert ask(place, "/moved")[0] == 302


def test_a_flood_is_cut_off(place: tuple[str, str]) -> None:
    unreachable(f"over {MAX_ANSWER} bytes", ask, place, "/flood")


@pytest.mark.parametrize("path", ["/slow", "/drip"])
def test_one_that_takes_its_time_is_left(place: tuple[str, str], path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "TIMEOUT", 0.5)
    unreachable("too long", ask, place, path)


def test_this_machine_and_what_nobody_vouches_for_are_not_asked(place: tuple[str, str]) -> None:
    unreachable("this machine", ask_provider, place[0] + "/", ca=place[1], headers={}, body=None)
    unreachable("SSL", ask_provider, place[0] + "/", ca="", headers={}, body=None, is_allowed=lambda _: True)
    unreachable("no PEM", ask_provider, place[0] + "/", ca="x", headers={}, body=None, is_allowed=lambda _: True)


@pytest.mark.parametrize("url", ["http://localhost/x", "file:///etc/passwd", "https://", "ftp://a/b"])
def test_other_schemes_are_not_spoken(url: str) -> None:
    unreachable("not https", ask_provider, url, ca="", headers={}, body=None)


def test_a_secret_outside_the_folder_of_providers_is_told_to_nobody(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "secrets", tmp_path / "kek"
    folder.mkdir(mode=0o700)
    for file in (elsewhere, folder / "corp"):
        file.write_text("s3cret-of-forty-random-characters-9f8e7d6c")
        file.chmod(0o600)
    assert provider_secret(f"file://{folder}/corp", folder=folder, vault=None).reveal().startswith("s3cret")
    (folder / "link").symlink_to(elsewhere)
    for path in (elsewhere, folder / ".." / "kek", folder / "link"):
        with pytest.raises(CasemateError) as caught:
            provider_secret(f"file://{path}", folder=folder, vault=None)
        assert caught.value.code == "bad-secret-reference"
        assert "s3cret" not in caught.value.message
