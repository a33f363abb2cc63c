"""A training script that is let out to one host reaches that host, over TLS too, and nothing else."""

from __future__ import annotations

import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from client_certificates import Made, authority, client

from casemate.core import Verdict, verdict_of
from casemate.runtime import TrainingResult, findings_of, run_training, scratch
from casemate.runtime.reach import Host, Reach
from casemate.sandbox import Limits

LIMITS = Limits(memory=2 << 30, cpu_seconds=120, wall_seconds=240, file_bytes=8 << 20, open_files=512)


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with tempfile.TemporaryDirectory(dir=scratch.MEMORY, prefix="casemate-test-") as name:
        monkeypatch.setattr(scratch, "MEMORY", Path(name))
        yield


@pytest.fixture(scope="module")
def roots() -> Made:
    return authority()


def serving(context: ssl.SSLContext | None) -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def plain() -> Iterator[int]:
    yield from serving(None)


@pytest.fixture(scope="module")
def secure(roots: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made = client(roots, dns="data.example", server=True)
    context.load_cert_chain(*made.write(tmp_path_factory.mktemp("tls"), "server"))
    yield from serving(context)


def run(script: str, *hosts: Host, params: dict[str, str] | None = None) -> tuple[TrainingResult, Reach]:
    with Reach(hosts) as reach:
        return run_training(script.encode(), {}, limits=LIMITS, reach=reach, params=params), reach


USUAL = """
import http.client, json, os, ssl, urllib.request
parameters = json.loads(os.environ["CASEMATE_PARAMETERS"])
plain, secure = parameters["plain"], parameters["secure"]
print(urllib.request.urlopen(f"http://plain.example:{plain}/x", timeout=20).read())
context = ssl.create_default_context(cadata=parameters["ca"])
print(urllib.request.urlopen(f"https://data.example:{secure}/x", context=context, timeout=20).read())
import httpx
with httpx.Client(verify=context) as client:
    print(client.get(f"https://data.example:{secure}/x").content)
    print(client.get(f"http://plain.example:{plain}/x").content)
try:
    http.client.HTTPSConnection("data.example", secure, timeout=20, context=ssl.create_default_context()).connect()
except ssl.SSLCertVerificationError:
    print("not trusted")
(__import__("pathlib").Path(os.environ["CASEMATE_OUTPUT"]) / "m.onnx").write_bytes(b"x")
"""


def test_what_is_usual_works_and_tls_is_the_scripts_own(plain: int, secure: int, roots: Made) -> None:
    params = {"plain": str(plain), "secure": str(secure), "ca": roots.pem.decode()}
    script = USUAL.replace('parameters["plain"]', 'int(parameters["plain"])').replace(
        'parameters["secure"]', 'int(parameters["secure"])'
    )
    hosts = [Host("plain.example", plain, "127.0.0.1"), Host("data.example", secure, "127.0.0.1")]
    result, reach = run(script, *hosts, params=params)
    with result:
        assert result.log_tail.count("b'hello'") == 4, result.log_tail
        assert "not trusted" in result.log_tail
        assert verdict_of(findings_of(result)) is Verdict.CLEAN, result.blocked
        assert reach.made == {f"plain.example:{plain}": 2, f"data.example:{secure}": 3}


HOSTILE = """
import array, ctypes, os, socket, sys
port = %d

def attempt(act):
    try:
        act()
    except (OSError, AssertionError) as error:
        print("stopped", type(error).__name__)
    else:
        print("BREACHED", act)

libc = ctypes.CDLL(None, use_errno=True)
def asked(call, *args):
    if call(*args) < 0:
        raise OSError(ctypes.get_errno(), "refused")

good = socket.create_connection(("good.example", port), timeout=20)
elsewhere = b"\\x02\\x00" + (port + 1).to_bytes(2, "big") + b"\\x7f\\x00\\x00\\x01" + bytes(8)
attempt(lambda: socket.create_connection(("evil.example", port), timeout=5))
attempt(lambda: socket.create_connection(("good.example", port + 1), timeout=5))
attempt(lambda: socket.create_connection(("127.0.0.1", port), timeout=5))
attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
attempt(lambda: socket.socket(socket.AF_UNIX))
attempt(lambda: asked(libc.socket, 2, 1, 0))
attempt(lambda: asked(libc.connect, good.fileno(), elsewhere, 16))  # the one it has, to another place
unspecified = bytes(16)
attempt(lambda: asked(libc.connect, good.fileno(), unspecified, 16))  # let go of its place first
libc.sendto(good.fileno(), b"x", 1, 0x20000000, elsewhere, 16)  # MSG_FASTOPEN: to where it is connected, or nowhere
attempt(lambda: asked(libc.listen, good.fileno(), 1))
for number in range(3, 512):
    try:
        held = os.readlink(f"/proc/self/fd/{number}")
    except OSError:
        continue
    if not held.startswith("socket:") or number == good.fileno():
        continue
    kinds = {197: 5, 198: 1}  # where it is answered, and the blank one
    raw = socket._socket.socket(1, kinds[number], 0, fileno=number) if number in kinds else None
    if raw is None:
        print("BREACHED another socket", number)
        continue
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0]).tobytes())]
    attempt(lambda: raw.sendmsg([b"x"], rights))
    raw.detach()
good.shutdown(socket.SHUT_RDWR)
attempt(lambda: asked(libc.sendto, good.fileno(), b"x", 1, 0x20000000, elsewhere, 16))
"""


def test_nothing_else_is_reached_and_each_attempt_is_reported(plain: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(0.0)
        script = HOSTILE.replace("port + 1", str(other.getsockname()[1])) % plain
        result, reach = run(script, Host("good.example", plain, "127.0.0.1"))
        with pytest.raises(BlockingIOError):
            other.accept()
    with result:
        assert "BREACHED" not in result.log_tail, result.log_tail
        assert result.log_tail.count("stopped") == 12, result.log_tail
        assert reach.made == {f"good.example:{plain}": 1}
        ids = {finding.id for finding in findings_of(result)}
        assert {"training-connect", "training-socket"} <= ids
        assert verdict_of(findings_of(result)) is Verdict.REFUSED
        targets = {one["target"] for one in result.blocked if one["kind"] == "connect"}
        assert {f"evil.example:{plain}", f"127.0.0.1:{plain}"} <= targets
