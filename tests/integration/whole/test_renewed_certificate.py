"""`casemate up` renews its own certificate in time, says so, and serves with the new one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from casemate.app.local import init_home
from casemate.keys import init_tls
from casemate.settings import load_settings


def test_an_old_certificate_is_renewed_at_start(tmp_path: Path) -> None:
    settings = load_settings({}, home=tmp_path / "home", keys=tmp_path / "keys")
    made = init_home(settings)
    public, private = tmp_path / "home" / "tls", Path(made["keys"]) / "tls"
    shutil.rmtree(public)
    shutil.rmtree(private)
    init_tls(public, private, now=datetime.now(UTC) - timedelta(days=250))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CASEMATE_")}
    environment |= {"CASEMATE_KEYS": str(settings.keys)}
    command = [sys.executable, "-m", "casemate", "--home", str(settings.home), "up"]
    ports = ["--data-port", "0", "--control-port", "0"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, *ports], stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    try:
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert words[:1] == ["ready"], (tmp_path / "log").read_text()
        context = ssl.create_default_context(cafile=str(public / "ca.pem"))
        for place in words[1:]:
            url = urlsplit(place.partition("=")[2])
            with (
                socket.create_connection((url.hostname, url.port)) as plain,
                context.wrap_socket(plain, server_hostname=url.hostname) as secure,
            ):
                shown = x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"")
            assert shown.not_valid_after_utc > datetime.now(UTC) + timedelta(days=300)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=300) == 0
        process.stdout.close()
    assert "renewed until" in (tmp_path / "log").read_text()
