"""Every key provider wraps and unwraps, and refuses what was altered, cut, or is of another context or key."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casemate.core import VerificationError, new_id
from casemate.core.wire import Caller, listen, serve_calls
from casemate.keys import Keeper, KeyProvider, Keyring, RemoteKeys, init_keys, key_methods

SAME = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


HOLDERS = [
    "file",
    "vault",
    "aws-kms",
    "google-kms",
    "azure-key-vault",
    pytest.param("pkcs11", marks=pytest.mark.program("softhsm2-util")),
]  # of key-encryption keys


def keyring_of(holder: str, request: pytest.FixtureRequest, tmp_path: Path) -> Keyring:
    folder = tmp_path / new_id("home")
    settings: dict[str, str] = {}
    if holder == "vault":
        settings = request.getfixturevalue("bao").admit(folder.name, tmp_path)
    elif holder == "pkcs11":
        settings = request.getfixturevalue("hsm").settings()
    elif holder == "aws-kms":
        settings = request.getfixturevalue("kms").settings()
    elif holder == "google-kms":
        settings = request.getfixturevalue("google_kms").settings()
    elif holder == "azure-key-vault":
        settings = request.getfixturevalue("key_vault").settings()
    init_keys(folder, holder, settings)
    return Keyring(folder / "kek.json")


@pytest.fixture(params=HOLDERS)
def keyring(request: pytest.FixtureRequest, tmp_path: Path) -> Keyring:
    return keyring_of(request.param, request, tmp_path)


@pytest.fixture(params=[*HOLDERS, "keeper", "remote"])
def provider(request: pytest.FixtureRequest, tmp_path: Path):
    if request.param not in ("keeper", "remote"):
        yield keyring_of(request.param, request, tmp_path)
        return
    init_keys(tmp_path / "keys")
    keeper = Keeper(tmp_path / "keys")
    if request.param == "keeper":
        yield keeper
        return
    listener = listen(tmp_path / "keeper.sock")
    threading.Thread(target=serve_calls, args=(listener, key_methods(keeper)), daemon=True).start()
    caller = Caller(tmp_path / "keeper.sock")
    yield RemoteKeys(caller)
    caller.close()
    listener.close()


@SAME
@given(key=st.binary(min_size=1, max_size=64), context=st.binary(max_size=100))
def test_unwrap_gives_back_what_was_wrapped(provider: KeyProvider, key: bytes, context: bytes) -> None:
    wrapped = provider.wrap(key, context)
    assert provider.unwrap(wrapped, context) == key
    assert provider.wrap(key, context) != wrapped


@SAME
@given(data=st.data())
def test_any_flipped_bit_or_cut_is_refused(provider: KeyProvider, data: st.DataObject) -> None:
    wrapped = provider.wrap(b"k" * 32, b"context")
    place = data.draw(st.integers(0, len(wrapped) - 1))
    flipped = bytearray(wrapped)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    for bad in (bytes(flipped), wrapped[:place], wrapped + b"x"):
        with pytest.raises(VerificationError) as refused:
            provider.unwrap(bad, b"context")
        assert refused.value.code == "key-unwrap-failed"


def test_another_context_or_another_kek_is_refused(provider: KeyProvider, tmp_path: Path) -> None:
    wrapped = provider.wrap(b"k" * 32, b"context")
    init_keys(tmp_path / "others")
    for other, context in ((provider, b"contexT"), (provider, b""), (Keeper(tmp_path / "others"), b"context")):
        with pytest.raises(VerificationError, match="cannot be unwrapped"):
            other.unwrap(wrapped, context)


def test_after_a_rotation_older_keys_unwrap_until_they_are_retired(keyring: Keyring) -> None:
    first = keyring.wrap(b"k" * 32, b"context")
    assert keyring.rotate().number == 2
    second = keyring.wrap(b"k" * 32, b"context")
    assert keyring.unwrap(first, b"context") == keyring.unwrap(second, b"context") == b"k" * 32
    with pytest.raises(VerificationError):
        keyring.unwrap(second[:37] + first[37:], b"context")
    keyring.retire()
    keyring.enforce()
    keyring.enforce()
    assert keyring.unwrap(second, b"context") == b"k" * 32
    with pytest.raises(VerificationError) as refused:
        keyring.unwrap(first, b"context")
    assert refused.value.code == "kek-retired"
