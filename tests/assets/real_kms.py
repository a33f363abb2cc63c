"""AWS KMS and Secrets Manager as `moto_server` emulates them, in a process of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest

# moto hashes what is a digest already (its own words: "DIGEST is not yet implemented"). KMS does not.
_SERVER = """
import sys
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto.kms.utils import ECDSAPrivateKey
from moto.server import main

plain = ECDSAPrivateKey.sign

def sign(key, message, algorithm):
    if len(message) != 32:
        return plain(key, message, algorithm)
    return key.private_key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))

ECDSAPrivateKey.sign = sign
main(sys.argv[1:])
"""


class Kms:
    def __init__(self, folder: Path) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            port = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        with (folder / "moto.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _SERVER, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log
            )
        self.client: Any = boto3.client(
            "kms", region_name="eu-central-1", endpoint_url=self.endpoint,
            aws_access_key_id="test", aws_secret_access_key="test",
        )  # fmt: skip
        while True:
            assert self.process.poll() is None, (folder / "moto.log").read_text()
            try:
                self.client.list_keys()
                break
            except botocore.exceptions.EndpointConnectionError:
                time.sleep(0.02)

    def settings(self) -> dict[str, str]:
        return {"region": "eu-central-1", "endpoint": self.endpoint}

    def pause(self) -> None:
        """It answers nobody any more, as behind a broken network."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WNOWAIT)  # until then it may still answer

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="session")
def kms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kms]:
    """One server for all tests of a process; its credentials are in the environment, as boto3 finds them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        server = Kms(tmp_path_factory.mktemp("kms"))
        yield server
        server.resume()
        server.process.terminate()
        server.process.wait()
