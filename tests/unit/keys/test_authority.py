from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from casemate.core import StorageError
from casemate.keys import TlsPaths, init_tls


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def made(tmp_path: Path, now: datetime) -> TlsPaths:
    return init_tls(tmp_path / "home", tmp_path / "keys", now=now)


def snapshot(tmp_path: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_a_strict_client_accepts_it_for_each_local_name(tmp_path: Path, now: datetime, name: str) -> None:
    assert _handshake(made(tmp_path, now), name) == "TLSv1.3"


def test_a_strict_client_refuses_it_for_another_name(tmp_path: Path, now: datetime) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(made(tmp_path, now), "example.org")


def test_private_keys_are_never_in_the_home(tmp_path: Path, now: datetime) -> None:
    made(tmp_path, now)
    assert all(b"PRIVATE" not in path.read_bytes() for path in (tmp_path / "home").iterdir())
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()} == {0o600}


def test_it_is_made_once_and_renewed_in_time(tmp_path: Path, now: datetime) -> None:
    made(tmp_path, now)
    before = snapshot(tmp_path)
    made(tmp_path, now + timedelta(days=242))
    assert snapshot(tmp_path) == before
    paths = made(tmp_path, now + timedelta(days=244))
    assert paths.certificate.read_bytes() != before[paths.certificate]
    assert paths.authority.read_bytes() == before[paths.authority]
    made(tmp_path, now + timedelta(days=3640))
    old, new = (x509.load_pem_x509_certificate(pem) for pem in (before[paths.authority], paths.authority.read_bytes()))
    assert new.not_valid_after_utc > old.not_valid_after_utc
    assert new.public_key() == old.public_key()


def test_a_swapped_authority_in_the_home_is_put_right(tmp_path: Path, now: datetime) -> None:
    paths = made(tmp_path, now)
    before = snapshot(tmp_path)
    foreign = init_tls(tmp_path / "x" / "home", tmp_path / "x" / "keys", now=now)
    paths.authority.write_bytes(foreign.authority.read_bytes())
    made(tmp_path, now)
    assert paths.authority.read_bytes() == before[paths.authority]


def test_a_pair_that_does_not_fit_is_made_anew(tmp_path: Path, now: datetime) -> None:
    foreign = init_tls(tmp_path / "x" / "home", tmp_path / "x" / "keys", now=now)
    paths = made(tmp_path, now)
    paths.key.write_bytes(foreign.key.read_bytes())
    assert _handshake(made(tmp_path, now), "localhost") == "TLSv1.3"


def test_a_lost_or_open_authority_key_gets_a_sentence(tmp_path: Path, now: datetime) -> None:
    made(tmp_path, now)
    key = tmp_path / "keys" / "ca.key"
    key.chmod(0o644)
    with pytest.raises(StorageError, match=r"chmod 600 .*ca\.key"):
        made(tmp_path, now)
    key.unlink()
    with pytest.raises(StorageError, match="missing"):
        made(tmp_path, now)


def _handshake(paths: TlsPaths, name: str) -> str | None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(paths.certificate, paths.key)
    client = ssl.create_default_context(cafile=str(paths.authority))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as sock:
                sock.recv(1)
        except OSError:
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ours, client.wrap_socket(ours, server_hostname=name) as sock:
            return sock.version()
    finally:
        thread.join()
