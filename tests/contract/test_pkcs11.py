"""A real PKCS#11 library: keys that stay in the token, a token that is pulled out, PINs that lock nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from real_bao import secret_file
from real_hsm import PIN, Hsm

from casemate.core import CasemateError, InputError, StorageError, new_id
from casemate.keys import Keyring, init_keys
from casemate.keys.hsm import _sessions

pytestmark = pytest.mark.program("softhsm2-util")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / new_id("home")


@pytest.fixture
def keyring(hsm: Hsm, folder: Path) -> Keyring:
    init_keys(folder, "pkcs11", hsm.settings())
    return Keyring(folder / "kek.json")


@pytest.fixture
def pulled(hsm: Hsm) -> Iterator[Hsm]:
    yield hsm
    hsm.put_back()


@pytest.fixture
def signed_out(keyring: Keyring) -> Keyring:
    """A keyring whose next use signs in, as in a new process."""
    keyring._provider._forget(pkcs11)
    return keyring


def refusal(act: Callable[[], object]) -> CasemateError:
    with pytest.raises(CasemateError) as refused:
        act()
    return refused.value


def keys_in_token(label: str) -> list[Any]:
    (session,) = _sessions.values()
    return list(session.get_objects({pkcs11.Attribute.LABEL: label}))


def test_keys_cannot_be_read_out_and_retirement_destroys_the_older(keyring: Keyring, folder: Path) -> None:
    keyring.rotate()
    keys = keys_in_token(f"casemate {folder.name}")
    assert {key.id.hex() for key in keys} == {kek.ref for kek in keyring.keks}
    for key in keys:
        assert (key[pkcs11.Attribute.SENSITIVE], key[pkcs11.Attribute.NEVER_EXTRACTABLE]) == (True, True)
        with pytest.raises(pkcs11.AttributeSensitive):
            key[pkcs11.Attribute.VALUE]
    keyring.retire()
    keyring.enforce()
    assert [key.id.hex() for key in keys_in_token(f"casemate {folder.name}")] == [keyring.keks[-1].ref]


def test_a_token_that_is_pulled_out_refuses_and_goes_on_when_it_is_back(
    pulled: Hsm, keyring: Keyring, folder: Path
) -> None:
    wrapped, before = keyring.wrap(b"k", b"c"), (folder / "kek.json").read_bytes()
    pulled.pull()
    for act in (lambda: keyring.wrap(b"k", b"c"), lambda: keyring.unwrap(wrapped, b"c"), keyring.rotate):
        error = refusal(act)
        assert (type(error), error.code) == (StorageError, "keys-out-of-reach")
    assert (folder / "kek.json").read_bytes() == before
    pulled.put_back()
    assert keyring.unwrap(wrapped, b"c") == b"k"
    assert keyring.rotate().number == 2


def test_two_homes_share_a_token_and_no_key(hsm: Hsm, keyring: Keyring, tmp_path: Path) -> None:
    other = tmp_path / new_id("home")
    init_keys(other, "pkcs11", hsm.settings())
    wrapped = keyring.wrap(b"k", b"c")
    assert Keyring(other / "kek.json").wrap(b"k", b"c")[:37] != wrapped[:37]
    assert refusal(lambda: Keyring(other / "kek.json").unwrap(wrapped, b"c")).code == "key-unwrap-failed"
    thief = Keyring(other / "kek.json")._provider
    assert refusal(lambda: thief.open(keyring.keks[0].ref, wrapped[37:], wrapped[:37] + b"c")).code
    assert keyring.unwrap(wrapped, b"c") == b"k"


def test_a_wrong_pin_is_tried_once_and_never_shown(hsm: Hsm, signed_out: Keyring) -> None:
    pin = hsm.folder / "pin"
    secret_file(pin, "wrong-planted-pin")
    try:
        for _ in range(20):  # a token would be locked by now
            error = refusal(lambda: signed_out.wrap(b"k", b"c"))
            assert (type(error), error.code) == (StorageError, "keys-refused")
            assert "planted" not in repr(error)
    finally:
        secret_file(pin, PIN)
    assert signed_out.unwrap(signed_out.wrap(b"k", b"c"), b"c") == b"k"


def test_a_pin_that_others_may_read_is_refused(hsm: Hsm, signed_out: Keyring) -> None:
    (hsm.folder / "pin").chmod(0o644)
    try:
        assert refusal(lambda: signed_out.wrap(b"k", b"c")).code == "open-to-others"
    finally:
        (hsm.folder / "pin").chmod(0o600)


@pytest.mark.parametrize("change", [{"token": "another"}, {"module": "/nowhere/lib.so"}, {"module": "/etc/passwd"}])
def test_what_is_not_there_is_out_of_reach(hsm: Hsm, folder: Path, change: dict[str, str]) -> None:
    error = refusal(lambda: init_keys(folder, "pkcs11", hsm.settings() | change))
    assert (type(error), error.code) == (StorageError, "keys-out-of-reach")
    assert not (folder / "kek.json").exists()
    init_keys(folder, "pkcs11", hsm.settings())


@pytest.mark.parametrize(
    "change", [{"pin": "1234"}, {"module": "lib.so"}, {"pin_file": "pin"}, {"token": ""}, {"slot": "0"}]
)
def test_settings_that_make_no_sense_are_refused(hsm: Hsm, folder: Path, change: dict[str, str]) -> None:
    error = refusal(lambda: init_keys(folder, "pkcs11", hsm.settings() | change))
    assert (type(error), error.code) == (InputError, "bad-key-settings")


def test_a_missing_package_is_one_sentence(hsm: Hsm, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pkcs11", None)
    error = refusal(lambda: init_keys(folder, "pkcs11", hsm.settings()))
    assert (error.code, "casemate[pkcs11]" in error.message) == ("missing-extra", True)
