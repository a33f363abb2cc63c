"""OpenSSF Model Signing bundles (Sigstore bundle 0.3, DSSE, in-toto): made with our key, read more strictly than upstream.

`model-signing` 1.1.1 builds the statement and rebuilds the manifest. Its verifiers are not used, because they

- judge a certificate at the moment it became valid, so that an expired one passes: we judge at the time of use;
- skip `.git`, `.gitignore` and whatever `ignore_paths` names: we compare with every file, and refuse ignored paths;
- accept a 0.2 manifest and its ambiguous encoding, which no root digest binds: we refuse both;
- hash paths that a loader opens again later: we compare digests taken over sealed bytes.

Files are named whole, not in shards: the sealed file's digest is then the one that is signed and no byte is hashed
twice; shards also cannot name an empty file, which could thus be added or removed unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import msgspec
from cryptography import x509

from casemate.core import Digest, InputError, VerificationError, canonical, checked_digest, checked_path
from casemate.signing.dsse import (
    MAX_ENVELOPE,
    Envelope,
    ReleaseSigner,
    check_envelope,
    keyid_of,
    malformed,
    open_envelope,
    strict_base64,
)
from casemate.signing.trust import Predicate, TrustPolicy, certificate_key, certificate_window, check_windows

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


class _PublicKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    hint: str


class _Certificate(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    raw_bytes: str


class _Chain(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    certificates: tuple[_Certificate, ...]


class _Material(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True
):
    public_key: _PublicKey | None = None
    x509_certificate_chain: _Chain | None = None
    tlog_entries: tuple[Any, ...] = ()
    timestamp_verification_data: None = None


class _Bundle(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    media_type: str
    verification_material: _Material
    dsse_envelope: Envelope


def sign_files(name: str, files: Mapping[str, Digest], *, signer: ReleaseSigner) -> bytes:
    """A bundle over `files` that the upstream tool also verifies.

    Args: name: informative only, as upstream; our release statement binds it. files: path -> digest of sealed bytes.
    Raises: InputError: a path or digest is not allowed, or there is no file.
    """
    envelope = signer.sign(files_statement(name, files))
    material = _Material(public_key=_PublicKey(hint=envelope.signatures[0].keyid))
    return canonical(_Bundle(media_type=MEDIA_TYPE, verification_material=material, dsse_envelope=envelope))


def files_statement(name: str, files: Mapping[str, Digest]) -> bytes:
    """The in-toto statement of upstream over whole files. Args: files: or a single one, named `.` as upstream does.

    Raises: InputError: a path or digest is not allowed, or there is no file.
    """
    from model_signing import manifest
    from model_signing._hashing.hashing import Digest as UpstreamDigest
    from model_signing._signing.signing import Payload

    if not files:
        raise InputError("There is no file to sign.", code="no-files")
    items = [
        manifest.FileManifestItem(
            path=PurePosixPath(path if files.keys() == {"."} else checked_path(path)),
            digest=UpstreamDigest("sha256", bytes.fromhex(checked_digest(digest).removeprefix("sha256:"))),
        )
        for path, digest in files.items()
    ]
    serialization = manifest.SerializationType.from_args(
        {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
    )
    payload = Payload(manifest.Manifest(name, items, serialization))
    return canonical(_plain(payload.statement.pb))


def verify_bundle(bundle: bytes, *, trust: TrustPolicy, at: datetime) -> dict[str, Digest]:
    """Return path -> digest of every file that a signer trusted at `at` signed.

    Raises: VerificationError `signature-malformed`, `signature-invalid`, `signer-not-trusted`, `certificate-expired`.
    """
    try:
        if len(bundle) > MAX_ENVELOPE:
            raise malformed("it is too large")
        read = msgspec.json.decode(bundle, type=_Bundle)
    except ValueError as error:
        raise malformed("it is not a Sigstore bundle") from error
    if read.media_type != MEDIA_TYPE:
        raise malformed("it is not a Sigstore bundle of version 0.3")
    check_envelope(read.dsse_envelope)
    keyid = _signer_of(read.verification_material, at=at)
    if read.dsse_envelope.signatures[0].keyid not in ("", keyid):
        raise malformed("it names two different keys")
    payload = open_envelope(read.dsse_envelope, trust.key_for(keyid, Predicate.FILES, at=at))
    return _signed_files(payload)


def verify_files(bundle: bytes, files: Mapping[str, Digest], *, trust: TrustPolicy, at: datetime) -> None:
    """Return when the bundle names exactly `files`, no more and no fewer, hidden ones included.

    Raises: VerificationError as `verify_bundle`, and `file-changed`, `file-missing`, `file-unexpected`.
    """
    compare_files(verify_bundle(bundle, trust=trust, at=at), files)


def compare_files(signed: Mapping[str, Digest], found: Mapping[str, Digest]) -> None:
    """Raises: VerificationError `file-changed`, `file-missing`, `file-unexpected`, naming the first such file."""
    for path in sorted(signed.keys() | found.keys()):
        if path not in found:
            raise VerificationError(f"The signed file {path!r} is missing.", code="file-missing")
        if path not in signed:
            raise VerificationError(f"The file {path!r} is not covered by the signature.", code="file-unexpected")
        if signed[path] != found[path]:
            raise VerificationError(
                f"The file {path!r} is not what was signed: its bytes were altered.", code="file-changed"
            )


def _signer_of(material: _Material, *, at: datetime) -> str:
    """The key id that the bundle names. A certificate only names a key here: the trust policy pins keys, not roots."""
    if material.public_key and not material.x509_certificate_chain:
        return material.public_key.hint
    if material.x509_certificate_chain and not material.public_key:
        try:
            chain = [
                x509.load_der_x509_certificate(strict_base64(certificate.raw_bytes))
                for certificate in material.x509_certificate_chain.certificates
            ]
            keyid = keyid_of(certificate_key(chain[0]))
            windows = [certificate_window(certificate) for certificate in chain]
        except (ValueError, IndexError, InputError) as error:
            raise malformed("its certificates cannot be read") from error
        check_windows(windows, at=at)
        return keyid
    raise malformed("it names no key")


def _signed_files(payload: bytes) -> dict[str, Digest]:
    from model_signing._signing.signing import dsse_payload_to_manifest

    try:
        statement = msgspec.json.decode(payload)
        if (statement["_type"], statement["predicateType"]) != (
            "https://in-toto.io/Statement/v1",
            Predicate.FILES.value,
        ):
            raise malformed("it is not a statement about files in version 1.0")
        serialization = statement["predicate"]["serialization"]
        if serialization["method"] != "files" or serialization["hash_type"] != "sha256":
            raise malformed("its files are not named whole, by SHA-256; sign them so")
        if serialization.get("ignore_paths") or serialization.get("allow_symlinks"):
            raise malformed("it leaves paths out or follows links; sign every file")
        manifest = dsse_payload_to_manifest(statement)
        named = [(r["name"], r["algorithm"]) for r in statement["predicate"]["resources"]]
        files = {
            checked_path(item.identifier): checked_digest("sha256:" + item.digest.digest_hex)
            for item in manifest.resource_descriptors()
        }
    except (ValueError, TypeError, KeyError, AttributeError, InputError) as error:
        raise malformed("its list of files cannot be read") from error
    # Upstream keeps the last of two entries for one path, and rewrites `a//b`: we take exact, unique names only.
    if sorted(named) != sorted((path, "sha256") for path in files):
        raise malformed("it names a file twice or in two ways")
    return files


def _plain(message: Any) -> Any:
    from google.protobuf import json_format  # type: ignore[import-untyped]

    return json_format.MessageToDict(message)
