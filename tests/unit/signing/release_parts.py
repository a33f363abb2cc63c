"""Real P-256 keys, and a released model to take apart."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from casemate.core import AssetKind, SealedFile, canonical, digest_of, seal_bytes
from casemate.keys import Purpose
from casemate.signing import (
    Predicate,
    ReleaseSigner,
    SignedVersion,
    StoredModel,
    VersionIdentity,
    sign_files,
    sign_statement,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class KeyHolder:
    """A keeper of one P-256 key."""

    def __init__(self) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.pem = self.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, purpose: Purpose, payload: bytes) -> bytes:
        assert purpose is Purpose.RELEASE
        return self.private.sign(payload, ec.ECDSA(hashes.SHA256()))


def signer_of(holder: KeyHolder) -> ReleaseSigner:
    return ReleaseSigner(holder, holder.pem)


@dataclass
class Release:
    """Builds a signed model version; each part can be replaced before it is stored."""

    signer: ReleaseSigner
    name: str = "diagnosis"
    number: int = 1
    contents: dict[str, bytes] = field(default_factory=lambda: {"model.onnx": b"weights", "a/empty": b""})
    scan: dict = field(
        default_factory=lambda: {"verdict": "clean", "served": {"path": "model.onnx", "runtime": "onnx"}}
    )
    lineage: dict | None = None
    signed_contents: dict[str, bytes] | None = None

    def version(self) -> SignedVersion:
        signed = self.signed_contents or self.contents
        manifest = {
            "schema": 1,
            "project": "default",
            "kind": "model",
            "name": self.name,
            "files": {p: {"digest": digest_of(b), "size": len(b)} for p, b in signed.items()},
        }
        if self.lineage is not None:
            manifest["lineage"] = self.lineage
        data = canonical(manifest)
        about = VersionIdentity(
            project="default", kind=AssetKind.MODEL, name=self.name, number=self.number, digest=digest_of(data)
        )
        bundle = sign_files(self.name, {p: digest_of(b) for p, b in signed.items()}, signer=self.signer)
        facts = {Predicate.RELEASE: {"bundle": digest_of(bundle)}, Predicate.SCAN: self.scan}
        if self.lineage is not None:
            facts[Predicate.TRAINING] = self.lineage
        statements = {p: sign_statement(p, about, f, signer=self.signer, at=NOW) for p, f in facts.items()}
        return SignedVersion(about=about, manifest=data, attestations={Predicate.FILES: bundle, **statements})

    def stored(self, version: SignedVersion | None = None, **attestations: bytes) -> StoredModel:
        version = version or self.version()
        if attestations:
            by_type = {Predicate[k]: v for k, v in attestations.items()}
            version = replace(version, attestations={**version.attestations, **by_type})
        return StoredModel(version=version, files=sealed(self.contents))


def sealed(contents: dict[str, bytes]) -> dict[str, SealedFile]:
    return {path: seal_bytes([data]) for path, data in contents.items()}
