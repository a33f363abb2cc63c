"""Cloud KMS by its documented REST shapes, spoken to Google's own client: what is bound, refused, and found again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from documented_google_kms import RING, GoogleKms

from casemate.core import CasemateError, InputError, StorageError, VerificationError, new_id
from casemate.keys import Keyring, init_keys


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / new_id("home")


@pytest.fixture
def keyring(google_kms: GoogleKms, folder: Path) -> Keyring:
    init_keys(folder, "google-kms", google_kms.settings())
    return Keyring(folder / "kek.json")


@pytest.fixture
def disturbed(google_kms: GoogleKms) -> Iterator[GoogleKms]:
    yield google_kms
    google_kms.denied = google_kms.server.away = False


def refusal(act: Callable[[], object]) -> CasemateError:
    with pytest.raises(CasemateError) as refused:
        act()
    return refused.value


def test_the_context_is_bound_by_the_service(keyring: Keyring, google_kms: GoogleKms) -> None:
    """A checksum of ours would stop it before: here nothing of ours stands between."""
    wrapped = keyring.wrap(b"k" * 32, b"context")
    provider, ref = keyring._provider, keyring.keks[0].ref
    assert provider.open(ref, wrapped[37:], wrapped[:37] + b"context") == b"k" * 32
    before = len(google_kms.server.seen)
    assert refusal(lambda: provider.open(ref, wrapped[37:], wrapped[:37] + b"contexT")).code == "key-unwrap-failed"
    assert google_kms.server.seen[before:] == [("POST", f"/v1/{ref.partition('/cryptoKeyVersions')[0]}:decrypt?%24alt=json%3Benum-encoding%3Dint")]  # fmt: skip


def test_each_rotation_is_a_version_of_one_key_and_retirement_disables_the_older(
    keyring: Keyring, google_kms: GoogleKms, folder: Path
) -> None:
    keyring.rotate()
    refs = [kek.ref for kek in keyring.keks]
    assert refs == [f"{RING}/cryptoKeys/{folder.name}/cryptoKeyVersions/{number}" for number in (1, 2)]
    keyring.retire()
    keyring.enforce()
    assert [google_kms.versions[ref][1] for ref in refs] == ["DISABLED", "ENABLED"]


def test_a_version_that_was_disabled_is_retired(keyring: Keyring, google_kms: GoogleKms) -> None:
    wrapped, ref = keyring.wrap(b"k", b"c"), keyring.keks[0].ref
    google_kms.set_state(ref, "DISABLED")
    error = refusal(lambda: keyring.unwrap(wrapped, b"c"))
    assert (type(error), error.code) == (VerificationError, "kek-retired")
    assert refusal(lambda: keyring.wrap(b"k", b"c")).code == "keys-refused"
    google_kms.set_state(ref, "ENABLED")
    assert keyring.unwrap(wrapped, b"c") == b"k"


def test_a_service_that_is_gone_or_refuses_loses_nothing(keyring: Keyring, disturbed: GoogleKms, folder: Path) -> None:
    wrapped, before = keyring.wrap(b"k", b"c"), (folder / "kek.json").read_bytes()
    for name, code in (("away", "keys-out-of-reach"), ("denied", "keys-refused")):
        setattr(disturbed.server if name == "away" else disturbed, name, True)
        for act in (lambda: keyring.wrap(b"k", b"c"), lambda: keyring.unwrap(wrapped, b"c"), keyring.rotate):
            error = refusal(act)
            assert (type(error), error.code) == (StorageError, code)
            assert disturbed.endpoint in error.message
        setattr(disturbed.server if name == "away" else disturbed, name, False)
    assert (folder / "kek.json").read_bytes() == before
    assert keyring.unwrap(wrapped, b"c") == b"k"
    assert keyring.rotate().number == 2


def test_a_credentials_file_that_others_may_read_or_that_holds_none_is_refused(
    google_kms: GoogleKms, folder: Path, tmp_path: Path
) -> None:
    account = tmp_path / "account.json"
    account.touch(0o600)
    account.write_text('{"type": "service_account", "private_key": "planted-c0ffee"}')
    settings = google_kms.settings() | {"credentials_file": str(account)}
    error = refusal(lambda: init_keys(folder, "google-kms", settings))
    assert (error.code, "planted" in str(error)) == ("keys-refused", False)
    account.chmod(0o644)
    assert refusal(lambda: init_keys(folder, "google-kms", settings)).code == "open-to-others"
    assert not (folder / "kek.json").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"key_ring": "homes"},
        {"key": "a/b"},
        {"credentials_file": "account.json"},
        {"protection": "NONE"},
        {"endpoint": "http://localhost"},
        {"endpoint": "https://localhost/path"},
        {"private_key": "c0ffee"},
    ],
)
def test_settings_that_make_no_sense_are_refused(google_kms: GoogleKms, folder: Path, change: dict[str, str]) -> None:
    error = refusal(lambda: init_keys(folder, "google-kms", google_kms.settings() | change))
    assert (type(error), error.code) == (InputError, "bad-key-settings")


def test_a_missing_package_is_one_sentence(
    google_kms: GoogleKms, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "google.cloud.kms", None)
    monkeypatch.delattr("google.cloud.kms", raising=False)
    error = refusal(lambda: init_keys(folder, "google-kms", google_kms.settings()))
    assert (error.code, "casemate[gcp]" in error.message) == ("missing-extra", True)
