"""Statements and bundles: what was signed comes back; any flipped byte and any truncation is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from casemate.core import AssetKind, InputError, VerificationError, checked_path, digest_of
from casemate.keys import Purpose
from casemate.signing import (
    Predicate,
    ReleaseSigner,
    TrustPolicy,
    VersionIdentity,
    initial_trust,
    sign_files,
    sign_statement,
    verify_bundle,
    verify_statement,
)

NOW = datetime(2026, 11, 24, tzinfo=UTC)
PRIVATE = ec.generate_private_key(ec.SECP256R1())
PEM = PRIVATE.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class Holder:
    def sign(self, purpose: Purpose, payload: bytes) -> bytes:
        return PRIVATE.sign(payload, ec.ECDSA(hashes.SHA256()))


SIGNER = ReleaseSigner(Holder(), PEM)
TRUST = TrustPolicy.fold([initial_trust(PEM)])
ABOUT = VersionIdentity(project="default", kind=AssetKind.MODEL, name="m", number=1, digest=digest_of(b"m"))
BUNDLE = sign_files("m", {"model.onnx": digest_of(b"a"), "x": digest_of(b"b")}, signer=SIGNER)
STATEMENT = sign_statement(Predicate.SCAN, ABOUT, {"verdict": "clean"}, signer=SIGNER, at=NOW)


def _is_path(text: str) -> bool:
    try:
        return bool(checked_path(text))
    except InputError:
        return False


paths = st.text(min_size=1, max_size=40).filter(_is_path)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(paths, st.binary(max_size=8), min_size=1, max_size=8))
@settings(deadline=None)
def test_signed_files_come_back(contents):
    files = {path: digest_of(data) for path, data in contents.items()}
    assert verify_bundle(sign_files("m", files, signer=SIGNER), trust=TRUST, at=NOW) == files


@given(st.dictionaries(st.text(max_size=8), plain, max_size=5))
@settings(deadline=None)
def test_signed_facts_come_back(facts):
    envelope = sign_statement(Predicate.SCAN, ABOUT, facts, signer=SIGNER, at=NOW)
    said = verify_statement(envelope, Predicate.SCAN, ABOUT, trust=TRUST, at=NOW)
    assert (said.facts, said.about, said.keyid) == (facts, ABOUT, SIGNER.keyid)


def _read(data: bytes, *, bundle: bool) -> object:
    if bundle:
        return verify_bundle(data, trust=TRUST, at=NOW)
    return verify_statement(data, Predicate.SCAN, ABOUT, trust=TRUST, at=NOW)


@pytest.mark.parametrize("bundle", [True, False])
@given(data=st.data())
@settings(deadline=None, max_examples=400)
def test_a_flipped_byte_is_refused(bundle, data):
    whole = bytearray(BUNDLE if bundle else STATEMENT)
    where = data.draw(st.integers(0, len(whole) - 1))
    whole[where] ^= data.draw(st.integers(1, 255))
    with pytest.raises(VerificationError):
        _read(bytes(whole), bundle=bundle)


@pytest.mark.parametrize("bundle", [True, False])
@given(data=st.data())
@settings(deadline=None)
def test_a_truncation_is_refused(bundle, data):
    whole = BUNDLE if bundle else STATEMENT
    with pytest.raises(VerificationError):
        _read(whole[: data.draw(st.integers(0, len(whole) - 1))], bundle=bundle)


@pytest.mark.parametrize("bundle", [True, False])
@given(st.binary(max_size=200) | st.from_regex(r'\{"payload":.{0,60}\}', fullmatch=True).map(str.encode))
@settings(deadline=None)
def test_noise_is_refused(bundle, noise):
    with pytest.raises(VerificationError):
        _read(noise, bundle=bundle)
