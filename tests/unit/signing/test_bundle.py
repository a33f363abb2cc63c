"""Bundles are upstream's, and each hole that upstream leaves is closed; every test shows the hole beside the fix."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import model_signing
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from release_parts import NOW, KeyHolder, signer_of

from casemate.core import InputError, VerificationError, digest_of
from casemate.signing import Predicate, TrustedSigner, TrustPolicy, sign_files, verify_bundle, verify_files
from casemate.signing.dsse import PAYLOAD_TYPE

CONTENTS = {"model.onnx": b"weights", "sub/b c.txt": b"x:1:2", "empty": b""}


def unpacked(folder, contents=CONTENTS):
    for path, data in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def digests(contents=CONTENTS):
    return {path: digest_of(data) for path, data in contents.items()}


def refused(code, call, *args, **kwargs):
    with pytest.raises(VerificationError) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code


def upstream_key(holder, folder):
    path = folder / "key.pem"
    path.write_bytes(
        holder.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


def test_upstream_verifies_our_bundle(holder, tmp_path):
    (tmp_path / "pub.pem").write_bytes(holder.pem)
    (tmp_path / "model.sig").write_bytes(sign_files("m", digests(), signer=signer_of(holder)))
    folder = unpacked(tmp_path / "m")
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    command += ["--signature", str(tmp_path / "model.sig"), "--public_key", str(tmp_path / "pub.pem")]
    assert subprocess.run(command, capture_output=True, check=False, timeout=300).returncode == 0
    (folder / "model.onnx").write_bytes(b"Weights")
    assert subprocess.run(command, capture_output=True, check=False, timeout=300).returncode != 0


def test_we_verify_upstreams_bundle(holder, trust, tmp_path):
    folder = unpacked(tmp_path / "m")
    config = model_signing.signing.Config().use_elliptic_key_signer(private_key=upstream_key(holder, tmp_path))
    config.set_hashing_config(model_signing.hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False))
    config.sign(folder, tmp_path / "sig")
    assert verify_bundle((tmp_path / "sig").read_bytes(), trust=trust, at=NOW) == digests()


def test_upstream_leaves_git_files_out_and_we_do_not(holder, trust, tmp_path):
    bundle = sign_files("m", digests(), signer=signer_of(holder))
    (tmp_path / "sig").write_bytes(bundle)
    (tmp_path / "pub.pem").write_bytes(holder.pem)
    hidden = {**CONTENTS, ".git/hooks/post-checkout": b"evil"}
    folder = unpacked(tmp_path / "m", hidden)
    lax = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=tmp_path / "pub.pem")
    lax.set_hashing_config(model_signing.hashing.Config())
    lax.verify(folder, tmp_path / "sig")  # the hole
    refused("file-unexpected", verify_files, bundle, digests(hidden), trust=trust, at=NOW)


def test_a_bundle_that_ignores_paths_is_refused(holder, trust, tmp_path):
    folder = unpacked(tmp_path / "m", {**CONTENTS, ".git/x": b"evil"})
    config = model_signing.signing.Config().use_elliptic_key_signer(private_key=upstream_key(holder, tmp_path))
    config.sign(folder, tmp_path / "sig")  # upstream's default leaves out .git
    refused("signature-malformed", verify_bundle, (tmp_path / "sig").read_bytes(), trust=trust, at=NOW)


@pytest.mark.parametrize(("days", "code"), [(-1, "certificate-expired"), (30, None)])
def test_an_expired_certificate_passes_upstream_and_not_here(tmp_path, days, code):
    signing, chain, certificate = _certificates(tmp_path, until=datetime.now(UTC) + timedelta(days=days))
    folder = unpacked(tmp_path / "m")
    config = model_signing.signing.Config().use_certificate_signer(
        private_key=signing, signing_certificate=tmp_path / "leaf.pem", certificate_chain=[chain]
    )
    config.set_hashing_config(model_signing.hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False))
    config.sign(folder, tmp_path / "sig")
    upstream = model_signing.verifying.Config().use_certificate_verifier(certificate_chain=[chain])
    upstream.verify(folder, tmp_path / "sig")  # the hole, when it has expired
    bundle = (tmp_path / "sig").read_bytes()
    by_key = certificate.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    by_certificate = certificate.public_bytes(serialization.Encoding.PEM)
    for pem in (by_key, by_certificate):
        trust = TrustPolicy([TrustedSigner(pem=pem.decode(), may_sign=(Predicate.FILES,))])
        if code:
            refused(code, verify_files, bundle, digests(), trust=trust, at=datetime.now(UTC))
        else:
            verify_files(bundle, digests(), trust=trust, at=datetime.now(UTC))


def test_a_certificate_nobody_pinned_is_not_trusted(tmp_path, trust):
    signing, chain, _ = _certificates(tmp_path, until=datetime.now(UTC) + timedelta(days=30))
    config = model_signing.signing.Config().use_certificate_signer(
        private_key=signing, signing_certificate=tmp_path / "leaf.pem", certificate_chain=[chain]
    )
    config.sign(unpacked(tmp_path / "m"), tmp_path / "sig")
    refused("signer-not-trusted", verify_bundle, (tmp_path / "sig").read_bytes(), trust=trust, at=datetime.now(UTC))


def _statement(files, **changes):
    root = hashlib.sha256(b"".join(bytes.fromhex(d[7:]) for _, d in sorted(files))).hexdigest()
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": Predicate.FILES.value,
        "subject": [{"name": "m", "digest": {"sha256": root}}],
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [{"name": n, "algorithm": "sha256", "digest": d[7:]} for n, d in sorted(files)],
        },
        **changes,
    }


def _bundle(holder, statement):
    signer = signer_of(holder)
    envelope = signer.sign(json.dumps(statement).encode())
    return json.dumps(
        {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": signer.keyid}},
            "dsseEnvelope": {
                "payload": envelope.payload,
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": envelope.signatures[0].sig, "keyid": ""}],
            },
        }
    ).encode()


A, B = digest_of(b"a"), digest_of(b"b")


def test_a_plain_statement_is_read(holder, trust):
    assert verify_bundle(_bundle(holder, _statement([("x", A)])), trust=trust, at=NOW) == {"x": A}


@pytest.mark.parametrize(
    "statement",
    [
        _statement([("x", A), ("x", B)]),
        _statement([("a//x", A)]),
        _statement([("../x", A)]),
        _statement([("/x", A)]),
        _statement([("x", A)], predicateType="https://model_signing/Digests/v0.1"),
        _statement([("x", A)], _type="https://in-toto.io/Statement/v0.1"),
        _statement([("x", A)], subject=[{"name": "m", "digest": {"sha256": "0" * 64}}]),
        _statement([("x", A)], subject=[]),
        _statement([("x", A)], predicate={}),
        _statement([("x", A)], predicate=[]),
        [],
        "text",
        None,
    ],
)
def test_ambiguous_or_old_lists_are_refused_even_when_signed(holder, trust, statement):
    refused("signature-malformed", verify_bundle, _bundle(holder, statement), trust=trust, at=NOW)


def test_the_ambiguous_encoding_of_old_releases_is_refused(holder, trust):
    """Upstream falls back to a 0.2 encoding that quotes the payload as Python text."""
    from model_signing._signing.sign_sigstore_pb import pae_compat

    read = json.loads(_bundle(holder, _statement([("x", A)])))
    payload = base64.b64decode(read["dsseEnvelope"]["payload"])
    old = holder.private.sign(pae_compat(payload), ec.ECDSA(hashes.SHA256()))
    read["dsseEnvelope"]["signatures"][0]["sig"] = base64.b64encode(old).decode()
    refused("signature-invalid", verify_bundle, json.dumps(read).encode(), trust=trust, at=NOW)


@pytest.mark.parametrize("files", [{}, {"../x": A}, {"x": "sha256:12"}])
def test_what_cannot_be_named_is_not_signed(holder, files):
    with pytest.raises(InputError):
        sign_files("m", files, signer=signer_of(holder))


def test_another_key_of_the_same_name_does_not_pass(holder, trust):
    stranger = KeyHolder()
    forged = json.loads(_bundle(stranger, _statement([("x", A)])))
    forged["verificationMaterial"]["publicKey"]["hint"] = signer_of(holder).keyid
    refused("signature-invalid", verify_bundle, json.dumps(forged).encode(), trust=trust, at=NOW)


def _certificates(folder, *, until):
    start = until - timedelta(days=60)
    root_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def named(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def build(subject, issuer, public, ca):
        builder = x509.CertificateBuilder().subject_name(named(subject)).issuer_name(named(issuer)).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(start).not_valid_after(until if not ca else until + timedelta(days=900))
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        usage = dict.fromkeys(
            [
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ],
            False,
        )
        builder = builder.add_extension(
            x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **usage), critical=True
        )
        if not ca:
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        return builder.sign(root_key, hashes.SHA256())

    root = build("root", "root", root_key.public_key(), ca=True)
    leaf = build("leaf", "root", leaf_key.public_key(), ca=False)
    (folder / "root.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    (folder / "leaf.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    (folder / "leaf.key").write_bytes(
        leaf_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "leaf.key", folder / "root.pem", leaf
