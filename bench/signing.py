"""Sign and verify a 512 MB model, beside SHA-256 alone over the same bytes on as many cores as are used (one a file).

A model's bytes are digested twice in its life: sealed when it is pushed, sealed again when it is loaded. Signing and
verifying are measured whole: seal, digest, sign the bundle and statements; seal, digest, verify them all.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from casemate.core import AssetKind, SealedFile, canonical, digest_of, memory_file
from casemate.keys import Purpose
from casemate.signing import (
    Predicate,
    ReleaseSigner,
    SignedVersion,
    StoredModel,
    TrustPolicy,
    VersionIdentity,
    initial_trust,
    sign_files,
    sign_statement,
    verify_model,
)

SIZE = 512 << 20  # bytes
ROUNDS = 5  # the best counts: other processes only ever take away


class Holder:
    """A P-256 key in this process; the keeper's socket adds well under a millisecond."""

    def __init__(self) -> None:
        self._private = ec.generate_private_key(ec.SECP256R1())
        self.pem = self._private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, purpose: Purpose, payload: bytes) -> bytes:
        assert purpose == Purpose.RELEASE
        return self._private.sign(payload, ec.ECDSA(hashes.SHA256()))


def sealable(data: bytes) -> int:
    """A memory file that holds `data`, not sealed yet."""
    fd = memory_file("bench")
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    return fd


def signed(signer: ReleaseSigner, file: SealedFile, now: datetime) -> SignedVersion:
    """All that a push signs."""
    manifest = canonical(
        {
            "schema": 1,
            "project": "default",
            "kind": "model",
            "name": "large",
            "files": {"model.onnx": {"digest": file.digest, "size": file.size}},
        }
    )
    about = VersionIdentity(project="default", kind=AssetKind.MODEL, name="large", number=1, digest=digest_of(manifest))
    bundle = sign_files("large", {"model.onnx": file.digest}, signer=signer)
    scan = {"verdict": "clean", "served": {"path": "model.onnx", "runtime": "onnx"}}
    facts = {Predicate.RELEASE: {"bundle": digest_of(bundle)}, Predicate.SCAN: scan}
    said = {p: sign_statement(p, about, f, signer=signer, at=now) for p, f in facts.items()}
    return SignedVersion(about=about, manifest=manifest, attestations={Predicate.FILES: bundle, **said})


def seconds(prepare: Callable[[], object], work: Callable[..., object]) -> float:
    """Time of `work` alone; what it returns is closed outside the measured time."""
    given = prepare()
    start = time.perf_counter()
    done = work(given)
    took = time.perf_counter() - start
    if isinstance(done, SealedFile) or hasattr(done, "close"):
        done.close()
    return took


def measure() -> list[dict[str, object]]:
    """The rows of this benchmark. Each round measures all three, so that noise falls on all alike."""
    data = os.urandom(1 << 20) * (SIZE >> 20)
    holder, now = Holder(), datetime.now(UTC)
    signer, trust = ReleaseSigner(holder, holder.pem), TrustPolicy.fold([initial_trust(holder.pem)])
    with SealedFile(sealable(b"warm")) as small:  # imports upstream's statement classes once
        version = signed(signer, small, now)
        StoredModel(version=version, files={})

    def sign(fd: int) -> SealedFile:
        file = SealedFile(fd)
        signed(signer, file, now)
        return file

    with SealedFile(sealable(data)) as whole:
        version = signed(signer, whole, now)

    def verify(fd: int) -> object:
        return verify_model(StoredModel(version=version, files={"model.onnx": SealedFile(fd)}), trust, at=now)

    raw, signing, verifying = [], [], []
    for _ in range(ROUNDS):
        raw.append(seconds(lambda: data, hashlib.sha256))
        signing.append(seconds(lambda: sealable(data), sign))
        verifying.append(seconds(lambda: sealable(data), verify))
    limit = SIZE / min(raw) / 1e9
    both = 2 * SIZE / (min(signing) + min(verifying)) / 1e9
    rows = {"sign": SIZE / min(signing) / 1e9, "verify": SIZE / min(verifying) / 1e9, "sign + verify": both}
    beside = f"{limit:.2f} GB/s SHA-256 alone, one core"
    figures: list[dict[str, object]] = [
        {"name": name, "value": round(v, 3), "unit": "GB/s", "beside": beside, "ratio": round(v / limit, 3)}
        for name, v in rows.items()
    ]
    figures[-1]["aim"] = ">= 0.8"
    return figures


if __name__ == "__main__":
    print(json.dumps(measure()))
