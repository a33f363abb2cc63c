"""Key Vault by its documented REST shapes, spoken to Microsoft's own client: what is bound, refused, and found again."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from documented_key_vault import _OAEP, SECRET, KeyVault
from real_bao import secret_file

from casemate.core import CasemateError, InputError, StorageError, VerificationError, new_id
from casemate.keys import Keyring, init_keys
from casemate.keys.azure_vault import _derived
from casemate.keys.interface import with_checksum


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / new_id("home")


@pytest.fixture
def keyring(key_vault: KeyVault, folder: Path) -> Keyring:
    init_keys(folder, "azure-key-vault", key_vault.settings())
    return Keyring(folder / "kek.json")


@pytest.fixture
def disturbed(key_vault: KeyVault) -> Iterator[KeyVault]:
    yield key_vault
    key_vault.denied = key_vault.server.away = False


def refusal(act: Callable[[], object]) -> CasemateError:
    with pytest.raises(CasemateError) as refused:
        act()
    return refused.value


def version_of(keyring: Keyring, number: int = 1) -> str:
    return keyring.keks[number - 1].ref.partition(" ")[0].partition("/keys/")[2]


def test_the_context_is_bound_though_the_service_binds_none(keyring: Keyring) -> None:
    """The checksum is made anew, so that the cipher alone refuses."""
    wrapped = keyring.wrap(b"k" * 32, b"context")
    header, body = wrapped[:37], wrapped[37 + 32 :]
    forged = with_checksum(body, header + b"contexT")
    assert refusal(lambda: keyring.unwrap(header + forged, b"contexT")).code == "key-unwrap-failed"


def test_the_public_half_alone_forges_nothing(keyring: Keyring, key_vault: KeyVault) -> None:
    """Whoever can read the vault's public keys and write the database still lacks the keyring's binder."""
    header, context, inner, nonce = keyring.keks[0].header, b"context", os.urandom(32), os.urandom(12)
    wrapped = key_vault.keys[version_of(keyring)].public_key().encrypt(inner, _OAEP)

    def forged(binder: bytes) -> bytes:
        body = AESGCM(_derived(inner, binder)).encrypt(nonce, b"chosen", header + context)
        return header + with_checksum(len(wrapped).to_bytes(2) + wrapped + nonce + body, header + context)

    assert refusal(lambda: keyring.unwrap(forged(bytes(32)), context)).code == "key-unwrap-failed"
    binder = base64.b64decode(keyring.keks[0].ref.partition(" ")[2])
    assert keyring.unwrap(forged(binder), context) == b"chosen"


def test_each_rotation_is_a_version_of_one_key_and_retirement_disables_the_older(
    keyring: Keyring, key_vault: KeyVault, folder: Path
) -> None:
    keyring.rotate()
    versions = [version_of(keyring, number) for number in (1, 2)]
    assert {version.partition("/")[0] for version in versions} == {folder.name.replace("_", "-")}
    keyring.retire()
    keyring.enforce()
    assert key_vault.disabled & set(versions) == {versions[0]}


def test_a_version_that_was_disabled_is_retired(keyring: Keyring, key_vault: KeyVault) -> None:
    wrapped = keyring.wrap(b"k", b"c")
    key_vault.disabled.add(version_of(keyring))
    error = refusal(lambda: keyring.unwrap(wrapped, b"c"))
    assert (type(error), error.code) == (VerificationError, "kek-retired")
    assert refusal(lambda: keyring.wrap(b"k", b"c")).code == "kek-retired"
    key_vault.disabled.clear()
    assert keyring.unwrap(wrapped, b"c") == b"k"


def test_a_service_that_is_gone_or_refuses_loses_nothing(keyring: Keyring, disturbed: KeyVault, folder: Path) -> None:
    wrapped, before = keyring.wrap(b"k", b"c"), (folder / "kek.json").read_bytes()
    for name, code in (("away", "keys-out-of-reach"), ("denied", "keys-refused")):
        setattr(disturbed.server if name == "away" else disturbed, name, True)
        for act in (lambda: keyring.wrap(b"k", b"c"), lambda: keyring.unwrap(wrapped, b"c"), keyring.rotate):
            error = refusal(act)
            assert (type(error), error.code) == (StorageError, code)
            assert disturbed.vault in error.message
        setattr(disturbed.server if name == "away" else disturbed, name, False)
    assert (folder / "kek.json").read_bytes() == before
    assert keyring.unwrap(wrapped, b"c") == b"k"
    assert keyring.rotate().number == 2


def test_a_wrong_client_secret_is_a_missing_right_and_is_never_shown(
    key_vault: KeyVault, folder: Path, tmp_path: Path
) -> None:
    wrong = secret_file(tmp_path / "secret", "planted~another~secret~1c9d")
    error = refusal(
        lambda: init_keys(folder, "azure-key-vault", key_vault.settings() | {"client_secret_file": str(wrong)})
    )
    assert (error.code, "planted" in str(error)) == ("keys-refused", False)
    assert not (folder / "kek.json").exists()


def test_the_client_secret_may_stand_in_the_environment(
    key_vault: KeyVault, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_CLIENT", SECRET)
    init_keys(folder, "azure-key-vault", key_vault.settings() | {"client_secret_file": "env://VAULT_CLIENT"})
    assert SECRET.encode() not in (folder / "kek.json").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"vault": "https://vault.example"},
        {"vault": "http://casemate-test.vault.azure.net"},
        {"key": "a_b"},
        {"hardware": "no"},
        {"tenant": ""},
        {"client_secret_file": "secret"},
        {"authority": "http://login.example"},
        {"ca": "ca.pem"},
        {"client_secret": "c0ffee"},
    ],
)
def test_settings_that_make_no_sense_are_refused(key_vault: KeyVault, folder: Path, change: dict[str, str]) -> None:
    error = refusal(lambda: init_keys(folder, "azure-key-vault", key_vault.settings() | change))
    assert (type(error), error.code) == (InputError, "bad-key-settings")


def test_a_missing_package_is_one_sentence(key_vault: KeyVault, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "azure.identity", None)
    error = refusal(lambda: init_keys(folder, "azure-key-vault", key_vault.settings()))
    assert (error.code, "casemate[azure]" in error.message) == ("missing-extra", True)
