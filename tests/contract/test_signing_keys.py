"""Every holder of a release key signs what the pinned key verifies, keeps the private half, and is not believed blindly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from real_bao import Bao
from real_hsm import Hsm
from real_kms import Kms

from casemate.core import CasemateError, StorageError, VerificationError, new_id
from casemate.keys import Keeper, Purpose, ReleaseKey, init_keys
from casemate.keys.signing_key import SigningRecord, keep_record, read_record

HOLDERS = ["file", "vault", "aws-kms", pytest.param("pkcs11", marks=pytest.mark.program("softhsm2-util"))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / new_id("home")


@pytest.fixture(params=HOLDERS)
def holder(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> tuple[str, dict[str, str]]:
    if request.param == "vault":
        settings = request.getfixturevalue("bao").admit(folder.name, tmp_path)
        return "vault", settings | {"key": f"{folder.name}-release"}
    if request.param == "pkcs11":
        return "pkcs11", request.getfixturevalue("hsm").settings()
    if request.param == "aws-kms":
        return "aws-kms", request.getfixturevalue("kms").settings()
    return "file", {}


def refusal(act: Callable[[], object]) -> CasemateError:
    with pytest.raises(CasemateError) as refused:
        act()
    return refused.value


def verify(keeper: Keeper, signature: bytes, payload: bytes) -> None:
    public: Any = load_pem_public_key(keeper.public_pem(Purpose.RELEASE))
    public.verify(signature, payload, ec.ECDSA(hashes.SHA256()))


def test_what_is_signed_is_verified_by_the_pinned_key(folder: Path, holder: tuple[str, dict[str, str]]) -> None:
    init_keys(folder, signing=holder)
    keeper = Keeper(folder)
    for payload in (b"", b"model", b"m" * (1 << 20)):  # no service takes a megabyte: the digest alone is sent
        verify(keeper, keeper.sign(Purpose.RELEASE, payload), payload)
    keeper.release.verify_pin()
    again = Keeper(folder)
    assert again.public_pem(Purpose.RELEASE) == keeper.public_pem(Purpose.RELEASE)
    verify(again, again.sign(Purpose.RELEASE, b"x"), b"x")


def test_the_private_half_never_lies_beside_the_keys_of_a_service(
    folder: Path, holder: tuple[str, dict[str, str]]
) -> None:
    init_keys(folder, signing=holder)
    names = {path.name for path in folder.iterdir()}
    assert ("release.key" in names) == (holder[0] == "file")
    if holder[0] != "file":
        assert b"PRIVATE" not in (folder / "release.json").read_bytes()


def test_init_again_makes_no_second_key_and_moves_none(folder: Path, holder: tuple[str, dict[str, str]]) -> None:
    init_keys(folder, signing=holder)
    before = Keeper(folder).public_pem(Purpose.RELEASE)
    init_keys(folder)
    init_keys(folder, signing=holder)
    assert Keeper(folder).public_pem(Purpose.RELEASE) == before
    other = ("file", {}) if holder[0] != "file" else ("vault", {"address": "https://v", "token_file": "/t"})
    assert refusal(lambda: init_keys(folder, signing=other)).code == "keys-elsewhere"


def test_a_service_that_was_given_another_key_signs_nothing_and_does_not_start(
    folder: Path, holder: tuple[str, dict[str, str]]
) -> None:
    init_keys(folder, signing=holder)
    other = ReleaseKey.make(*holder, folder.name).record
    keeper = Keeper(folder)
    swapped = msgspec.structs.replace(keeper.release.record, ref=other.ref)
    keep_record(folder / "release.json", swapped)
    for act in (Keeper(folder).release.verify_pin, lambda: Keeper(folder).sign(Purpose.RELEASE, b"model")):
        error = refusal(act)
        assert (type(error), error.code) == (VerificationError, "signing-key-changed")


def test_the_record_of_the_key_shows_no_private_half_and_a_broken_one_is_named(folder: Path) -> None:
    init_keys(folder)
    record = Keeper(folder).release.record
    assert "PRIVATE" not in repr(record)
    for text in (b"", b"{}", json.dumps({"provider": "file", "settings": {}, "ref": "x", "pem": "y"}).encode()):
        keep_record(folder / "release.json", record)
        (folder / "release.json").write_bytes(text)
        assert refusal(lambda: Keeper(folder)).code == "key-file-broken"
    keep_record(folder / "release.json", record)
    assert read_record(folder / "release.json") == record
    assert isinstance(record, SigningRecord)


def test_a_transit_key_cannot_be_read_out_and_a_sealed_vault_signs_nothing(
    bao: Bao, folder: Path, tmp_path: Path
) -> None:
    settings = bao.admit(folder.name, tmp_path) | {"key": f"{folder.name}-release"}
    init_keys(folder, signing=("vault", settings))
    about = bao.root.secrets.transit.read_key(f"{folder.name}-release")["data"]
    assert (about["type"], about["exportable"], about["allow_plaintext_backup"]) == ("ecdsa-p256", False, False)
    keeper = Keeper(folder)
    bao.seal()
    try:
        error = refusal(lambda: keeper.sign(Purpose.RELEASE, b"model"))
        assert (type(error), error.code) == (StorageError, "keys-out-of-reach")
    finally:
        bao.unseal()
    verify(keeper, keeper.sign(Purpose.RELEASE, b"model"), b"model")
    bao.root.secrets.transit.update_key_configuration(f"{folder.name}-release", deletion_allowed=True)
    bao.root.secrets.transit.delete_key(f"{folder.name}-release")
    assert refusal(keeper.release.verify_pin).code == "keys-refused"


def test_a_kms_key_is_tagged_and_for_signing_only(kms: Kms, folder: Path) -> None:
    init_keys(folder, signing=("aws-kms", kms.settings()))
    ref = Keeper(folder).release.record.ref
    about = kms.client.describe_key(KeyId=ref)["KeyMetadata"]
    assert (about["KeyUsage"], about["KeySpec"]) == ("SIGN_VERIFY", "ECC_NIST_P256")
    assert {"TagKey": "casemate-home", "TagValue": folder.name} in kms.client.list_resource_tags(KeyId=ref)["Tags"]


@pytest.mark.program("softhsm2-util")
def test_a_token_s_key_cannot_be_read_out(hsm: Hsm, folder: Path) -> None:
    import pkcs11

    init_keys(folder, signing=("pkcs11", hsm.settings()))
    record = Keeper(folder).release.record

    def look(_: Any, session: Any) -> tuple[bool, bool]:
        (key,) = session.get_objects(
            {
                pkcs11.Attribute.LABEL: f"casemate {folder.name} release",
                pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY,
            }
        )
        return key[pkcs11.Attribute.SENSITIVE], key[pkcs11.Attribute.EXTRACTABLE]

    from casemate.keys.hsm import make_hsm

    assert make_hsm(record.settings, folder.name).call(look) == (True, False)
