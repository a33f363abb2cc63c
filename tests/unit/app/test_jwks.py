"""An issuer's keys over https: from a real server on loopback, and from every address that it must not reach."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import client_certificates
import pytest

from casemate.app import jwks
from casemate.app.jwks import fetch_jwks, is_elsewhere
from casemate.core import UpstreamError


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/jwks")
            self.end_headers()
            return
        body = b"x" * 70_000 if self.path == "/large" else b'{"keys": []}'
        if self.path == "/slow":
            threading.Event().wait(3)
        self.send_response(200 if self.path != "/missing" else 404)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ssl.SSLContext]]:
    folder: Path = tmp_path_factory.mktemp("jwks")
    ca = client_certificates.authority()
    files = client_certificates.client(ca, dns="localhost", server=True).write(folder, "server")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*files)
    server.daemon_threads = True
    server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://localhost:{server.server_port}", ssl.create_default_context(cadata=ca.pem.decode())
    server.shutdown()
    server.server_close()
    thread.join(5)


def fetch(place: tuple[str, ssl.SSLContext], path: str) -> bytes:
    url, trusted = place
    return fetch_jwks(url + path, context=trusted, is_allowed=lambda address: address in ("127.0.0.1", "::1"))


def test_the_document_is_read(place: tuple[str, ssl.SSLContext]) -> None:
    assert fetch(place, "/jwks") == b'{"keys": []}'


@pytest.mark.parametrize("path", ["/moved", "/large", "/missing"])
def test_a_redirect_a_flood_and_a_miss_are_no_key_set(place: tuple[str, ssl.SSLContext], path: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        fetch(place, path)
    assert caught.value.code == "bad-source"


def test_a_server_that_takes_too_long_is_left(
    place: tuple[str, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "TIMEOUT", 0.5)
    with pytest.raises(UpstreamError):
        fetch(place, "/slow")


def test_a_server_that_nobody_vouches_for_is_refused(place: tuple[str, ssl.SSLContext]) -> None:
    with pytest.raises(UpstreamError):
        fetch_jwks(place[0] + "/jwks", is_allowed=lambda _: True)


def test_this_machine_is_not_asked(place: tuple[str, ssl.SSLContext]) -> None:
    with pytest.raises(UpstreamError, match="this machine"):
        fetch_jwks(place[0] + "/jwks", context=place[1])


@pytest.mark.parametrize("url", ["http://localhost/x", "file:///etc/passwd", "https://", "ftp://a/b"])
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(UpstreamError):
        fetch_jwks(url)


@pytest.mark.parametrize(
    ("address", "elsewhere"),
    [
        ("127.0.0.1", False), ("::1", False), ("::ffff:127.0.0.1", False), ("169.254.169.254", False), ("0.0.0.0", False),
        ("fe80::1%eth0", False), ("224.0.0.1", False), ("240.0.0.1", False), ("10.1.2.3", True), ("140.82.112.3", True),
        ("2606:4700::1", True),
    ],
)  # fmt: skip
def test_which_addresses_are_another_machines(address: str, elsewhere: bool) -> None:
    assert is_elsewhere(address) is elsewhere
