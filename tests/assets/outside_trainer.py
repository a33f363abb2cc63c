"""An outside trainer: signs SLSA provenance about a model with a key, or under a certificate."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from casemate.core import Digest, canonical, digest_of, rfc3339
from casemate.signing import OwnKey
from casemate.signing.outside_signing import sign_with_key
from casemate.signing.provenance import Dependency, OutsideTraining, provenance_statement

SCRIPT, LOCK = b"print('train')\n", b"numpy==2.3.0\n"
BUILDER = "https://ci.example/trainer"


@dataclass(frozen=True)
class Trainer:
    """Args: chain: of its key, itself first."""

    key: OwnKey = field(default_factory=OwnKey.make)
    chain: tuple = ()

    @property
    def pem(self) -> str:
        return self.key.public_pem.decode()

    def sign(self, statement: bytes, *, now: datetime) -> bytes:
        return sign_with_key(statement, self.key, chain=self.chain, now=now)

    def says(self, files: dict[str, bytes], dataset: Digest | None, *, at: datetime, **other: Any) -> bytes:
        """A bundle about `files`. Args: dataset: its digest. other: of the training."""
        return self.sign(provenance_statement(training(files, dataset, at=at, **other)), now=at)


def training(files: dict[str, bytes], dataset: Digest | None, *, at: datetime, **other: Any) -> OutsideTraining:
    went_in = [
        Dependency(kind="script", name="train.py", digest=digest_of(SCRIPT)),
        Dependency(kind="environment", name="requirements.lock", digest=digest_of(LOCK)),
    ]
    if dataset:
        went_in.append(Dependency(kind="dataset", name="visits@1", digest=dataset))
    said = OutsideTraining(
        files={path: digest_of(data) for path, data in files.items()},
        builder=BUILDER,
        dependencies=tuple(went_in),
        parameters={"depth": 3},
        seeds={"numpy": 7},
        by="eve@example.com",
        run="run-1",
        started=rfc3339(at),
        finished=rfc3339(at),
    )
    return msgspec.structs.replace(said, **other)


def altered(bundle: bytes, old: bytes, new: bytes) -> bytes:
    """The bundle with other words in its payload, and the signature of before."""
    read = msgspec.json.decode(bundle)
    payload = base64.b64decode(read["dsseEnvelope"]["payload"])
    assert old in payload
    read["dsseEnvelope"]["payload"] = base64.b64encode(payload.replace(old, new)).decode()
    return canonical(read)
