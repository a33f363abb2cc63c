"""A home's signing key moves into a real OpenBao while what was signed before stays valid, also when the move is cut short."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from real_bao import Bao
from tiny_models import doubling_model

from casemate.app.local import control_socket, init_home
from casemate.client import Casemate
from casemate.core import CasemateError, StorageError, VerificationError
from casemate.keys import Keeper, Purpose
from casemate.keys.signing_key import keep_record
from casemate.settings import Settings, load_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = load_settings({}, home=tmp_path / "home", keys=tmp_path / "keys")
    init_home(made)
    return made


@pytest.fixture
def transit(bao: Bao, tmp_path: Path) -> Iterator[dict[str, str]]:
    yield bao.admit("moved", tmp_path) | {"key": "moved-release"}
    bao.unseal()


def folder_of(settings: Settings) -> Path:
    (folder,) = settings.keys.iterdir()
    return folder


def push(casemate: Casemate, tmp_path: Path, factor: float) -> None:
    (tmp_path / "model.onnx").write_bytes(doubling_model(factor))
    assert casemate.push_model("risk", tmp_path / "model.onnx")["verdict"] == "clean"


def test_versions_from_before_and_after_the_move_verify_and_deploy(
    settings: Settings, transit: dict[str, str], tmp_path: Path
) -> None:
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        push(casemate, tmp_path, 2.0)
        assert casemate.keyring.show()["signing"]["provider"] == "file"
        assert casemate.keyring.move_signing("vault", transit)["previous"] == "file"
        assert casemate.keyring.show()["signing"]["settings"] == transit
        push(casemate, tmp_path, 3.0)  # the same process signs with the new key at once
        assert casemate.verify_models()["problems"] == []
        for version in (1, 2):
            casemate.approve(f"risk@{version}")
            casemate.deploy("risk", f"risk@{version}")
    names = {path.name for path in folder_of(settings).iterdir()}
    assert "release.key" not in names
    assert "release.next.json" not in names
    public = Keeper(folder_of(settings)).public_pem(Purpose.RELEASE)
    assert (settings.home / "public" / "release.pem").read_bytes() == public
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        assert casemate.verify_models()["problems"] == []
        intents = casemate.audit_entries(kind="intent", action="keys:move")
        assert [entry["facts"]["provider"] for entry in intents] == ["vault"]
        casemate.keyring.move_signing("file", {})  # and out again
        push(casemate, tmp_path, 4.0)
        assert casemate.verify_models()["problems"] == []


@pytest.mark.slow
def test_a_sealed_vault_cannot_be_moved_to_and_the_old_key_goes_on(
    settings: Settings, transit: dict[str, str], bao: Bao, tmp_path: Path
) -> None:
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        bao.seal()
        with pytest.raises(CasemateError) as refused:
            casemate.keyring.move_signing("vault", transit)
        assert refused.value.code == "keys-out-of-reach"
        push(casemate, tmp_path, 2.0)
        bao.unseal()
        casemate.keyring.move_signing("vault", transit)
        bao.seal()
        with pytest.raises(CasemateError) as refused:
            push(casemate, tmp_path, 3.0)
        assert refused.value.code == "keys-out-of-reach"
        assert casemate.verify_models()["problems"] == [], "what is there needs no new signature"
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        assert casemate.verify_models()["problems"] == [], "nor does a start"
        bao.unseal()
        push(casemate, tmp_path, 3.0)


@pytest.mark.parametrize("trusted", [False, True])
def test_a_move_that_was_cut_short_leaves_a_key_that_is_trusted(
    settings: Settings, transit: dict[str, str], tmp_path: Path, trusted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the record names the new key the old one goes on; after it, the next start finishes the move."""
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        push(casemate, tmp_path, 2.0)
        cut = "casemate.app.signing_move.SigningMove._adopt" if trusted else "casemate.app.signing_move.successor_trust"
        monkeypatch.setattr(cut, lambda *_: (_ for _ in ()).throw(StorageError("cut short")))
        with pytest.raises(CasemateError):
            casemate.keyring.move_signing("vault", transit)
        monkeypatch.undo()
        assert (folder_of(settings) / "release.next.json").exists()
        push(casemate, tmp_path, 3.0)
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        assert casemate.keyring.show()["signing"]["provider"] == ("vault" if trusted else "file")
        push(casemate, tmp_path, 4.0)
        if not trusted:
            pinned = msgspec.json.decode((folder_of(settings) / "release.next.json").read_bytes())["pem"]
            casemate.keyring.move_signing("vault", transit)
            assert casemate.keyring.show()["signing"]["public_key"] == pinned, "the key that was made is used"
        assert casemate.verify_models()["problems"] == []


def test_a_home_whose_service_holds_another_key_does_not_start(settings: Settings, transit: dict[str, str]) -> None:
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        casemate.keyring.move_signing("vault", transit)
        casemate.keyring.move_signing("vault", transit)  # a second version
    folder = folder_of(settings)
    record = Keeper(folder).release.record
    keep_record(folder / "release.json", msgspec.structs.replace(record, ref=str(int(record.ref) - 1)))
    with pytest.raises(VerificationError) as refused, control_socket(settings):
        pass
    assert refused.value.code == "signing-key-changed"
    keep_record(folder / "release.json", record)
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        assert casemate.verify_models()["problems"] == []


def test_a_home_can_be_made_with_its_signing_key_in_vault(transit: dict[str, str], tmp_path: Path) -> None:
    settings = load_settings({}, home=tmp_path / "home", keys=tmp_path / "keys")
    init_home(settings, signing=("vault", transit))
    init_home(settings)
    assert not (folder_of(settings) / "release.key").exists()
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        push(casemate, tmp_path, 2.0)
        assert casemate.verify_models()["problems"] == []
