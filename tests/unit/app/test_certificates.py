"""The doors' certificate: ours is renewed in time, a given one is never replaced, and both are warned of."""

from __future__ import annotations

import logging
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from casemate.app.certificates import certificate_row, renew_certificate, warn_of_end
from casemate.keys import init_tls

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
LATE = NOW + timedelta(days=250)  # less than a third of 365 is left


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    public, private = tmp_path / "home", tmp_path / "keys"
    init_tls(public, private, now=NOW)
    return public, private


def give(private: Path, *, days: int) -> bytes:
    """A certificate of another authority, with an RSA key, as an operator would put it there."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ml.example.org")])
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Example CA")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=200))
        .not_valid_after(NOW + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (private / "server.pem").write_bytes(pem)
    (private / "server.key").write_bytes(private_pem)
    return pem


def until(path: Path) -> datetime:
    return x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc


def test_ours_is_renewed_when_a_third_of_its_life_is_left(
    folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    public, private = folders
    before = until(public / "server.pem")
    assert not renew_certificate(public, private, now=NOW + timedelta(days=240))
    assert caplog.records == []
    assert renew_certificate(public, private, now=LATE)
    assert until(public / "server.pem") == until(private / "server.pem") > before
    assert "renewed until 2028-08-01" in caplog.text
    assert not renew_certificate(public, private, now=LATE)


def test_what_cannot_be_renewed_is_said_and_stays(folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    public, private = folders
    (private / "ca.key").unlink()
    before = (public / "server.pem").read_bytes()
    assert not renew_certificate(public, private, now=LATE)
    assert "could not be renewed" in caplog.text
    assert "restore it from its copy" in caplog.text
    assert (public / "server.pem").read_bytes() == before


@pytest.mark.parametrize(("days", "warned"), [(20, True), (0, True), (300, False)])
def test_a_given_one_is_warned_of_and_never_replaced(
    folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture, days: int, warned: bool
) -> None:
    public, private = folders
    pem = give(private, days=days)
    init_tls(public, private, now=NOW)
    assert (public / "server.pem").read_bytes() == pem
    assert not renew_certificate(public, private, now=NOW)
    with caplog.at_level(logging.WARNING):
        warn_of_end(private, now=NOW)
    assert ("put a new one at" in caplog.text) == warned
    row = certificate_row(private, now=NOW)
    assert bool(row["mend"]) == warned
    assert row["state"] == ("missing" if days == 0 else "present")
    assert row["detail"].startswith("given")
    assert (private / "server.pem").read_bytes() == pem


def test_doctor_tells_of_ours(folders: tuple[Path, Path]) -> None:
    _, private = folders
    assert certificate_row(private, now=NOW)["mend"] == ""
    assert "casemate up" in certificate_row(private, now=NOW + timedelta(days=350))["mend"]
    (private / "server.pem").chmod(0o644)
    assert "chmod 600" in certificate_row(private, now=NOW)["mend"]
    shutil.rmtree(private)
    row = certificate_row(private, now=NOW)
    assert (row["state"], row["mend"]) == ("missing", "Make it: casemate init.")
