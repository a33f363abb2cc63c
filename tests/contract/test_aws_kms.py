"""KMS in an emulator: what is bound and refused, and a server that goes away in the middle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import botocore.exceptions
import pytest
from real_kms import Kms

from casemate.core import CasemateError, InputError, StorageError, new_id
from casemate.keys import Keyring, init_keys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / new_id("home")


@pytest.fixture
def keyring(kms: Kms, folder: Path) -> Keyring:
    init_keys(folder, "aws-kms", kms.settings())
    return Keyring(folder / "kek.json")


@pytest.fixture
def pausable(kms: Kms) -> Iterator[Kms]:
    yield kms
    kms.resume()


def refusal(act: Callable[[], object]) -> CasemateError:
    with pytest.raises(CasemateError) as refused:
        act()
    return refused.value


def test_the_context_is_bound_by_kms_itself(kms: Kms, keyring: Keyring) -> None:
    sealed = keyring.wrap(b"k" * 32, b"context")[37 + 32 :]
    for context in ({}, {"casemate": "0" * 64}):
        with pytest.raises(botocore.exceptions.ClientError, match="InvalidCiphertext"):
            kms.client.decrypt(CiphertextBlob=sealed, EncryptionContext=context)


def test_nothing_that_names_data_leaves_for_cloudtrail(keyring: Keyring, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring.wrap(b"k", b"c")
    client, seen = keyring._provider._client, []
    encrypt = client.encrypt
    monkeypatch.setattr(client, "encrypt", lambda **asked: seen.append(str(asked)) or encrypt(**asked))
    keyring.wrap(b"k", b"patients")
    assert len(seen) == 1
    assert "patients" not in seen[0]


def test_each_rotation_makes_a_key_tagged_with_its_home_and_retirement_disables_the_older(
    kms: Kms, keyring: Keyring, folder: Path
) -> None:
    keyring.rotate()
    refs = [kek.ref for kek in keyring.keks]
    for ref in refs:
        assert {"TagKey": "casemate-home", "TagValue": folder.name} in kms.client.list_resource_tags(KeyId=ref)["Tags"]
    keyring.retire()
    keyring.enforce()
    states = [kms.client.describe_key(KeyId=ref)["KeyMetadata"]["KeyState"] for ref in refs]
    assert states == ["Disabled", "Enabled"]


def test_a_key_that_is_gone_is_a_missing_right(keyring: Keyring) -> None:
    """The emulator goes on using disabled keys, so one that it never had stands for all that AWS refuses."""
    gone = keyring.keks[0].ref[:-4] + "0000"
    error = refusal(lambda: keyring._provider.seal(gone, b"k", b"c"))
    assert (type(error), error.code) == (StorageError, "keys-refused")
    assert "NotFoundException" in error.message


def test_a_server_that_stops_answering_refuses_and_goes_on(pausable: Kms, keyring: Keyring, folder: Path) -> None:
    wrapped, before = keyring.wrap(b"k", b"c"), (folder / "kek.json").read_bytes()
    pausable.pause()
    error = refusal(keyring.rotate)
    assert (type(error), error.code) == (StorageError, "keys-out-of-reach")
    assert pausable.endpoint in error.message
    assert (folder / "kek.json").read_bytes() == before
    pausable.resume()
    assert keyring.unwrap(wrapped, b"c") == b"k"


def test_a_home_is_not_made_where_nobody_answers(kms: Kms, folder: Path) -> None:
    nowhere = kms.settings() | {"endpoint": "http://127.0.0.1:1"}
    assert refusal(lambda: init_keys(folder, "aws-kms", nowhere)).code == "keys-out-of-reach"
    assert not (folder / "kek.json").exists()


def test_no_credentials_are_a_missing_right(kms: Kms, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    error = refusal(lambda: init_keys(folder, "aws-kms", kms.settings()))
    assert (error.code, "no credentials" in error.message) == ("keys-refused", True)
    missing = kms.settings() | {"profile": "nobody"}
    assert refusal(lambda: init_keys(folder, "aws-kms", missing)).code == "keys-refused"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"region": ""},
        {"region": "eu-central-1", "endpoint": "http://kms.example"},
        {"region": "eu-central-1", "endpoint": "file://127.0.0.1"},
        {"region": "eu-central-1", "aws_secret_access_key": "c0ffee"},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, str], folder: Path) -> None:
    error = refusal(lambda: init_keys(folder, "aws-kms", settings))
    assert (type(error), error.code) == (InputError, "bad-key-settings")


def test_a_missing_package_is_one_sentence(kms: Kms, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    error = refusal(lambda: init_keys(folder, "aws-kms", kms.settings()))
    assert (error.code, "casemate[aws]" in error.message) == ("missing-extra", True)
