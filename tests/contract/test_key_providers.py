"""Every key provider wraps and unwraps, and refuses what was altered, cut, or is of another context or key."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casemate.core import VerificationError
from casemate.core.wire import Caller, listen, serve_calls
from casemate.keys import FileProvider, Keeper, KeyProvider, RemoteKeys, init_keys, key_methods

SAME = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


@pytest.fixture(params=["file", "keeper", "remote"])
def provider(request: pytest.FixtureRequest, tmp_path: Path):
    folder = tmp_path / "keys"
    init_keys(folder)
    if request.param == "file":
        yield FileProvider(folder / "kek.json")
        return
    keeper = Keeper(folder)
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
