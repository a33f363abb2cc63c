from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from casemate.core import PolicyError, StorageError, VerificationError
from casemate.core.wire import Caller, listen, serve_calls
from casemate.keys import Head, Keeper, Purpose, RemoteKeys, init_keys, key_methods


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    init_keys(tmp_path / "deep" / "keys")
    return tmp_path / "deep" / "keys"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_keys_are_private_and_made_once(folder: Path) -> None:
    before = contents(folder)
    assert set(before) == {"kek.json", "checkpoint.key", "release.key", "head.json"}
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert {folder.stat().st_mode & 0o777, folder.parent.stat().st_mode & 0o777} == {0o700}
    init_keys(folder)
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["kek.json", "checkpoint.key", "release.key"])
def test_looser_files_are_refused_with_the_command_that_mends_them(folder: Path, name: str) -> None:
    (folder / name).chmod(0o640)
    with pytest.raises(StorageError, match=rf"chmod 600 .*/{name}") as refused:
        Keeper(folder)
    assert refused.value.code == "open-to-others"
    (folder / name).chmod(0o600)
    folder.chmod(0o750)
    with pytest.raises(StorageError, match=r"chmod 700 .*/keys"):
        Keeper(folder)


@pytest.mark.parametrize("name", ["checkpoint.key", "release.key", "head.json"])
def test_a_lost_key_is_not_made_anew(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(StorageError, match=name):
        init_keys(folder)
    assert not (folder / name).exists()


def test_a_lost_kek_that_was_used_is_not_made_anew(folder: Path) -> None:
    Keeper(folder).seal_head(1, "sha256:a")
    (folder / "kek.json").unlink()
    with pytest.raises(StorageError, match=r"kek\.json"):
        init_keys(folder)


def test_init_goes_on_after_a_crash(folder: Path) -> None:
    (folder / "kek.json").unlink()
    (folder / "release.key").unlink()
    init_keys(folder)
    Keeper(folder)


@pytest.mark.parametrize("name", ["kek.json", "checkpoint.key", "release.key", "head.json"])
@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\x00", b'{"number": "one"}'])
def test_broken_files_get_a_sentence(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    with pytest.raises(StorageError, match="broken"):
        Keeper(folder)


def test_links_are_not_followed(folder: Path) -> None:
    (folder / "kek.json").rename(folder / "real.json")
    (folder / "kek.json").symlink_to("real.json")
    with pytest.raises(StorageError, match="cannot be read"):
        Keeper(folder)


def test_signatures_fit_their_public_keys_and_no_other_purpose(folder: Path) -> None:
    keeper = Keeper(folder)
    checkpoint = load_pem_public_key(keeper.public_pem(Purpose.CHECKPOINT))
    release = load_pem_public_key(keeper.public_pem(Purpose.RELEASE))
    checkpoint.verify(keeper.sign(Purpose.CHECKPOINT, b"root"), b"root")
    release.verify(keeper.sign(Purpose.RELEASE, b"model"), b"model", ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        checkpoint.verify(keeper.sign(Purpose.RELEASE, b"root"), b"root")


def test_heads_neither_go_back_nor_fork(folder: Path) -> None:
    keeper = Keeper(folder)
    assert keeper.head() == Head(0, "")
    keeper.seal_head(2, "sha256:b")
    keeper.seal_head(2, "sha256:b")
    for number, digest in ((1, "sha256:a"), (2, "sha256:c")):
        with pytest.raises(VerificationError) as refused:
            keeper.seal_head(number, digest)
        assert refused.value.code == "state-rolled-back"
    assert Keeper(folder).head() == Head(2, "sha256:b")


def test_many_threads_leave_the_highest_head(folder: Path) -> None:
    keeper, refused = Keeper(folder), []

    def seal(number: int) -> None:
        try:
            keeper.seal_head(number, f"sha256:{number}")
        except VerificationError:
            refused.append(number)

    threads = [threading.Thread(target=seal, args=(number,)) for number in range(1, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keeper.head() == Head(39, "sha256:39")
    assert 39 not in refused


def test_the_newest_checkpoint_is_kept(folder: Path) -> None:
    assert Keeper(folder).kept_checkpoint() is None
    Keeper(folder).keep_checkpoint("origin\n1\nroot\n")
    assert Keeper(folder).kept_checkpoint() == "origin\n1\nroot\n"


def test_over_the_wire_only_releases_are_signed(folder: Path, tmp_path: Path) -> None:
    keeper = Keeper(folder)
    keeper.seal_head(3, "sha256:c")
    listener = listen(tmp_path / "s")
    threading.Thread(target=serve_calls, args=(listener, key_methods(keeper)), daemon=True).start()
    caller = Caller(tmp_path / "s")
    remote = RemoteKeys(caller)
    public = load_pem_public_key(remote.public_pem(Purpose.RELEASE))
    public.verify(remote.sign(Purpose.RELEASE, b"model"), b"model", ec.ECDSA(hashes.SHA256()))
    assert remote.head() == Head(3, "sha256:c")
    with pytest.raises(PolicyError) as refused:
        remote.sign(Purpose.CHECKPOINT, b"root")
    assert refused.value.code == "keeper-only"
    caller.close()
    listener.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_another_user_are_refused(folder: Path) -> None:
    os.chown(folder / "kek.json", 12345, -1)
    with pytest.raises(StorageError, match="another user"):
        Keeper(folder)
