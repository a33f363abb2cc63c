"""Signatures that other people made with the upstream tool: each method, each algorithm, and what upstream lets pass."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import certificate_makers as certificates
import model_signing
import pytest
from certificate_makers import around, issue, revoke
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from casemate.core import CasemateError, InputError, UpstreamError, VerificationError
from casemate.signing import OwnKey
from casemate.signing.bundle import files_statement
from casemate.signing.folders import check_folder, digests_of, read_listing
from casemate.signing.outside import CertificateJudge, PublicKeyJudge
from casemate.signing.outside_signing import sign_with_key

NOW = datetime.now(UTC)  # the timestamp authority has the machine's clock
CONTENTS = {"model.onnx": b"weights" * 1000, "sub/b c.txt": b"x:1:2", "sub/deep/z": b"z" * 4096}


@pytest.fixture
def folder(tmp_path):
    return unpacked(tmp_path / "m")


def unpacked(folder, contents=CONTENTS):
    for path, data in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def pem_of(key) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def private_pem(key) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def signed_upstream(folder, tmp_path, key, hashing=None) -> bytes:
    config = model_signing.signing.Config().use_elliptic_key_signer(
        private_key=written(tmp_path / "k", private_pem(key))
    )
    config.set_hashing_config(hashing or model_signing.hashing.Config())
    config.sign(folder, tmp_path / "sig")
    return (tmp_path / "sig").read_bytes()


def verified(bundle, judge, folder, **more):
    return check_folder(folder, read_listing(judge.open(bundle, now=NOW).payload), **more)


def refused(code, call, *args, **kwargs):
    with pytest.raises(CasemateError) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code
    return caught.value.message


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_every_curve_of_upstream(curve, folder, tmp_path):
    key = ec.generate_private_key(curve)
    bundle = signed_upstream(folder, tmp_path, key)
    assert verified(bundle, PublicKeyJudge(pem_of(key)), folder) == tuple(sorted(CONTENTS))
    other = PublicKeyJudge(pem_of(ec.generate_private_key(curve)))
    refused("signature-invalid", other.open, bundle, now=NOW)


@pytest.mark.parametrize("algorithm", ["sha256", "blake2", "blake3"])
@pytest.mark.parametrize("shard", [0, 1, 7, 1000, 100_000])
def test_every_way_of_hashing(algorithm, shard, folder, tmp_path):
    hashing = model_signing.hashing.Config()
    if shard:
        hashing.use_shard_serialization(hashing_algorithm=algorithm, shard_size=shard)
    else:
        hashing.use_file_serialization(hashing_algorithm=algorithm)
    key = ec.generate_private_key(ec.SECP256R1())
    judge = PublicKeyJudge(pem_of(key))
    if shard == 1:
        (folder / "model.onnx").write_bytes(b"short")
        (folder / "sub/deep/z").write_bytes(b"s")
    bundle = signed_upstream(folder, tmp_path, key, hashing)
    assert verified(bundle, judge, folder) == tuple(sorted(CONTENTS))
    whole = (folder / "model.onnx").read_bytes()
    for altered in (whole + b"x", whole[:-1], whole[:2] + b"X" + whole[3:], b""):
        (folder / "model.onnx").write_bytes(altered)
        refused("file-changed", verified, bundle, judge, folder)


def test_a_single_file(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    path = written(tmp_path / "one.onnx", b"weights")
    bundle = signed_upstream(path, tmp_path, key)
    judge = PublicKeyJudge(pem_of(key))
    assert verified(bundle, judge, path) == (".",)
    path.write_bytes(b"Weights")
    refused("file-changed", verified, bundle, judge, path)


def test_what_the_signer_left_out_is_not_taken_on_its_word(folder, tmp_path):
    """Upstream verifies a folder into which somebody put a hook of Git, since the signature said to leave `.git` out."""
    key = ec.generate_private_key(ec.SECP256R1())
    bundle = signed_upstream(folder, tmp_path, key)
    unpacked(folder, {".git/hooks/post-checkout": b"evil"})
    lax = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=written(tmp_path / "pub", pem_of(key)))
    lax.verify(folder, tmp_path / "sig")
    judge = PublicKeyJudge(pem_of(key))
    assert "left it out on purpose" in refused("file-unexpected", verified, bundle, judge, folder)
    assert verified(bundle, judge, folder, ignore=[".git"]) == tuple(sorted(CONTENTS))


def _added(folder):
    (folder / "sub/__init__.py").write_bytes(b"")


def _removed(folder):
    (folder / "model.onnx").unlink()


def _linked(folder):
    (folder / "model.onnx").rename(folder.parent / "elsewhere")
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere")


def _folder_linked(folder):
    (folder / "sub").rename(folder.parent / "elsewhere")
    (folder / "sub").symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    ("change", "code"),
    [(_added, "file-unexpected"), (_removed, "file-missing"), (_linked, "no-file"), (_folder_linked, "no-file")],
)
def test_what_lies_there_is_what_was_listed(change, code, folder, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    bundle = signed_upstream(folder, tmp_path, key)
    change(folder)
    refused(code, verified, bundle, PublicKeyJudge(pem_of(key)), folder)


def _statement(**predicate):
    said = json.loads(files_statement("m", {"a": "sha256:" + "0" * 64}))
    said["predicate"].update(predicate)
    return said


def _resources(*names):
    return [{"name": name, "algorithm": "sha256", "digest": "0" * 64} for name in names]


_SHARDS = {"method": "shards", "hash_type": "sha256", "shard_size": 8, "allow_symlinks": False}


@pytest.mark.parametrize(
    "said",
    [
        {"resources": _resources("a", "a")},
        {"resources": _resources("../a")},
        {"resources": _resources("/etc/passwd")},
        {"resources": _resources("a//b")},
        {"resources": []},
        {"serialization": {"method": "files", "hash_type": "md5", "allow_symlinks": False}},
        {"serialization": _SHARDS, "resources": _resources("a:0:8", "a:9:12")},
        {"serialization": _SHARDS, "resources": _resources("a:0:8", "a:4:12")},
        {"serialization": _SHARDS, "resources": _resources("a:8:12")},
        {"serialization": _SHARDS, "resources": _resources("a:00:8")},
        {"serialization": _SHARDS, "resources": _resources("a:0:0")},
        {"serialization": _SHARDS, "resources": _resources("a")},
    ],
)
def test_a_list_with_holes_is_refused_though_it_was_signed(said):
    import hashlib

    statement = _statement(**said)
    root = b"".join(bytes.fromhex(one["digest"]) for one in statement["predicate"]["resources"])
    statement["subject"][0]["digest"]["sha256"] = hashlib.sha256(root).hexdigest()
    if not statement["predicate"]["resources"]:
        assert read_listing(json.dumps(statement).encode()).pieces == {}  # lists nothing, so any file is unexpected
        return
    refused("signature-malformed", read_listing, json.dumps(statement).encode())


def test_a_list_of_before_1_0_is_named_as_such():
    statement = _statement() | {"predicateType": "https://model_signing/Digests/v0.1"}
    refused("signature-old", read_listing, json.dumps(statement).encode())


class Chain:
    """A root, an authority below it, and a signer."""

    def __init__(self, **leaf):
        self.root = issue("root", ca=True, **around(NOW, 900))
        self.middle = issue("middle", self.root, ca=True, **around(NOW, 800))
        self.key = OwnKey.make()
        private = self.key._private
        self.leaf = issue("signer", self.middle, key=private, **{**around(NOW), **leaf})

    @property
    def parts(self):
        return [self.leaf.certificate, self.middle.certificate]


def by_chain(chain, folder, **more):
    return sign_with_key(files_statement("m", digests_of(folder)), chain.key, chain=chain.parts, now=NOW, **more)


def test_a_chain_to_a_named_root(folder, tmp_path):
    chain = Chain()
    bundle = by_chain(chain, folder)
    judge = CertificateJudge([chain.root.certificate])
    signed = judge.open(bundle, now=NOW)
    assert (signed.method, signed.signer, signed.at) == ("certificate", "CN=signer", None)
    assert verified(bundle, judge, folder) == tuple(sorted(CONTENTS))
    strange = Chain()
    refused("certificate-not-trusted", CertificateJudge([strange.root.certificate]).open, bundle, now=NOW)
    upstream = model_signing.verifying.Config().use_certificate_verifier(
        certificate_chain=[written(tmp_path / "root.pem", chain.root.pem)]
    )
    upstream.verify(folder, written(tmp_path / "sig", bundle))


def test_upstream_signs_with_a_chain_and_we_verify(folder, tmp_path):
    chain = Chain()
    config = model_signing.signing.Config().use_certificate_signer(
        private_key=written(tmp_path / "k", chain.leaf.key_pem),
        signing_certificate=written(tmp_path / "leaf", chain.leaf.pem),
        certificate_chain=[written(tmp_path / "middle", chain.middle.pem)],
    )
    config.sign(folder, tmp_path / "sig")
    judge = CertificateJudge([chain.root.certificate])
    assert verified((tmp_path / "sig").read_bytes(), judge, folder) == tuple(sorted(CONTENTS))


def test_an_expired_certificate_counts_only_with_a_timestamp_from_within(folder, tmp_path):
    """Upstream judges a certificate at the moment it became valid, so that an expired one passes for ever."""
    chain = Chain(start=NOW - timedelta(days=1), end=NOW + timedelta(days=1))
    bundle = by_chain(chain, folder)
    later = NOW + timedelta(days=2)
    judge = CertificateJudge([chain.root.certificate])
    assert judge.open(bundle, now=NOW)
    refused("certificate-expired", judge.open, bundle, now=later)

    clock_root = issue("clock root", ca=True, **around(NOW, 900))
    authority = certificates.TimestampAuthority(tmp_path, clock_root, **around(NOW))
    stamped = by_chain(chain, folder, stamp=authority.answer)
    dated = CertificateJudge([chain.root.certificate], timestamp_roots=[clock_root.certificate])
    signed = dated.open(stamped, now=later)
    assert abs(signed.at - NOW) < timedelta(hours=1)
    for roots in ((), (chain.root.certificate,)):  # nobody asked for, or another authority
        other = CertificateJudge([chain.root.certificate], timestamp_roots=roots)
        refused("certificate-expired", other.open, stamped, now=later)
    moved = json.loads(by_chain(chain, folder))
    of_another = json.loads(stamped)["verificationMaterial"]["timestampVerificationData"]
    moved["verificationMaterial"]["timestampVerificationData"] = of_another
    refused("certificate-expired", dated.open, json.dumps(moved).encode(), now=later)


def test_an_answer_that_is_no_timestamp_of_this_signature(folder, tmp_path):
    chain = Chain()
    clock_root = issue("clock root", ca=True, **around(NOW, 900))
    authority = certificates.TimestampAuthority(tmp_path, clock_root, **around(NOW))
    kept = []

    def first(query):
        kept.append(authority.answer(query))
        return kept[0]

    assert by_chain(chain, folder, stamp=first)
    for stamp in (first, lambda _: b"", lambda _: b"\x30" * 70_000):
        with pytest.raises(UpstreamError) as caught:
            by_chain(chain, folder, stamp=stamp)
        assert caught.value.code == "bad-timestamp"


@pytest.mark.parametrize(
    "leaf",
    [{"usages": (ExtendedKeyUsageOID.SERVER_AUTH,)}, {"signs": False}, {"ca": True}],
    ids=["for servers", "for key agreement", "an authority"],
)
def test_a_certificate_for_something_else(leaf, folder):
    chain = Chain(**leaf)
    with pytest.raises(InputError) as caught:
        by_chain(chain, folder)
    assert caught.value.code == "bad-certificate"


@pytest.mark.parametrize(
    "leaf",
    [{"usages": (ExtendedKeyUsageOID.SERVER_AUTH,)}, {"signs": False}, {"ca": True}],
    ids=["for servers", "for key agreement", "an authority"],
)
def test_a_signature_under_a_certificate_for_something_else(leaf, folder):
    """The key really signed; only what the certificate is for stands in the way."""
    chain = Chain(**leaf)
    envelope = chain.key.sign(files_statement("m", digests_of(folder)))
    chained = [
        {"rawBytes": base64.b64encode(one.public_bytes(serialization.Encoding.DER)).decode()} for one in chain.parts
    ]
    bundle = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"x509CertificateChain": {"certificates": chained}},
        "dsseEnvelope": {
            "payload": envelope.payload,
            "payloadType": envelope.payload_type,
            "signatures": [{"sig": envelope.signatures[0].sig}],
        },
    }
    judge = CertificateJudge([chain.root.certificate])
    refused("certificate-usage", judge.open, json.dumps(bundle).encode(), now=NOW)


def test_lists_of_revoked_certificates(folder):
    chain = Chain()
    bundle = by_chain(chain, folder)
    times = {"at": NOW - timedelta(days=1), "until": NOW + timedelta(days=1)}
    root_list = revoke(chain.root, **times)

    def judged(*lists):
        return CertificateJudge([chain.root.certificate], revoked=lists).open(bundle, now=NOW)

    assert judged(root_list, revoke(chain.middle, 7, **times))
    leaf, middle = chain.leaf.certificate.serial_number, chain.middle.certificate.serial_number
    refused("certificate-revoked", judged, root_list, revoke(chain.middle, leaf, **times))
    refused("certificate-revoked", judged, revoke(chain.root, middle, **times), revoke(chain.middle, **times))
    stale = revoke(chain.middle, at=NOW - timedelta(days=9), until=NOW - timedelta(days=2))
    forged = revoke(issue("middle", ca=True, **around(NOW)), **times)
    for missing in ((root_list,), (root_list, stale), (root_list, forged)):
        refused("revocation-unknown", judged, *missing)


@pytest.mark.parametrize(
    "cut", ["", "{}", "[]", "null", '{"verificationMaterial":{},"dsseEnvelope":{}}', "\x00", "9" * 99]
)
def test_what_is_no_bundle(cut):
    judge = PublicKeyJudge(pem_of(ec.generate_private_key(ec.SECP256R1())))
    refused("signature-malformed", judge.open, cut.encode(), now=NOW)
    refused("signature-malformed", CertificateJudge([]).open, cut.encode(), now=NOW)


def test_any_flipped_byte_of_a_bundle_is_refused_or_says_the_same(folder, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    bundle = signed_upstream(folder, tmp_path, key)
    judge = PublicKeyJudge(pem_of(key))
    honest = judge.open(bundle, now=NOW).payload
    for place in range(0, len(bundle), 5):
        flipped = bundle[:place] + bytes([bundle[place] ^ 1]) + bundle[place + 1 :]
        try:
            assert judge.open(flipped, now=NOW).payload == honest
        except VerificationError:
            continue
