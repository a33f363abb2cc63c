"""A small HTTPS server on the loopback with a certificate of its own authority, for services that no emulator stands for."""

from __future__ import annotations

import datetime as dt
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = tuple[int, dict[str, str], Any]  # status, headers, value for JSON
Handle = Callable[[str, str, dict[str, str], Any], Answer]  # method, path with query, headers, body


class HttpsServer:
    """`handle` answers; while `away` it answers nobody, as behind a broken network."""

    def __init__(self, folder: Path, names: list[str], handle: Handle) -> None:
        self.ca, context = _certificate(folder, names)
        self.seen: list[tuple[str, str]] = []
        self.away = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # an answer leaves in one piece

            def log_message(self, *_: object) -> None:
                pass

            def _serve(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                if outer.away:
                    self.close_connection = True
                    return
                outer.seen.append((self.command, self.path))
                headers = {name.lower(): value for name, value in self.headers.items()}
                is_json = "json" in headers.get("content-type", "")
                body = json.loads(raw) if raw and is_json else raw.decode()
                status, more, value = handle(self.command, self.path, headers, body)
                data = json.dumps(value).encode()
                self.send_response(status)
                for name, text in {"content-type": "application/json", **more}.items():
                    self.send_header(name, text)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_PUT = _serve  # noqa: N815 http.server names them

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def https_server(folder: Path, names: list[str], handle: Handle) -> Iterator[HttpsServer]:
    server = HttpsServer(folder, names, handle)
    try:
        yield server
    finally:
        server.stop()


def _certificate(folder: Path, names: list[str]) -> tuple[Path, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "casemate tests")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=6))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    ca, private = folder / "ca.pem", folder / "server.key"
    ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, private)
    return ca, context
