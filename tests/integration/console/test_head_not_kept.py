"""A full disk beside the keys, just after the signed state was committed: the answer, the log and the state agree."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from casemate.app.control import build_services
from casemate.app.ground import open_ground
from casemate.app.keeper import open_keeper
from casemate.app.local import init_home, serving
from casemate.client import Casemate
from casemate.core import StorageError
from casemate.settings import load_settings
from casemate.storage import HomeLock, open_home


def test_what_counts_although_its_head_was_not_kept_is_on_record_as_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    settings = load_settings({}, home=tmp_path / "home", keys=tmp_path / "keys")
    init_home(settings)
    home = open_home(settings.home)
    with HomeLock(home.path):
        keeper = open_keeper(settings, home)
        ground = open_ground(settings, keeper, read_only=False)
        services = build_services(ground)
        with serving(home, services) as socket, Casemate(socket=socket) as casemate:
            issued = casemate.issue_key("ends", role="caller", expires="1h")
            monkeypatch.setattr(keeper.keeper, "seal_head", full)
            with pytest.raises(StorageError) as told:
                casemate.revoke_key(issued["id"])
            assert told.value.code == "head-not-kept"
            assert "look at what stands" in told.value.message
            outcome = casemate.audit_entries(action="key:revoke", kind="outcome", limit=1)[0]
            assert (outcome["outcome"], outcome["facts"]["error"]) == ("done", "head-not-kept")
            assert {key["id"]: key["state"] for key in list(casemate.keys())}[issued["id"]] == "revoked"  # at once
            with pytest.raises(StorageError) as again:
                casemate.issue_key("ghost", role="owner", expires="1h")
            assert again.value.code == "keys-unwritable"
            assert casemate.audit_entries(action="key:issue", kind="outcome", limit=1)[0]["outcome"] == "failed"
            assert "ghost" not in {key["name"] for key in list(casemate.keys())}
            monkeypatch.undo()
            casemate.issue_key("later", role="caller", expires="1h")
        ground.engine.dispose()
