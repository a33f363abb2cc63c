"""Pins made on the keeper's machine, of files as people hand them over."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from casemate.app import approvers
from casemate.app.approvers_file import ApproversFile
from casemate.app.ground import home_of, keys_folder
from casemate.app.local import init_home
from casemate.core import InputError, PrincipalKind
from casemate.iam.records import PrincipalCreated
from casemate.settings import Settings, load_settings
from casemate.signing import OwnKey

BEN = "usr_" + "b" * 32


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    found = load_settings({}, home=tmp_path / "home", keys=tmp_path / "keys")
    init_home(found)
    return found


@pytest.fixture
def people(settings: Settings) -> None:
    with approvers._ground(settings) as ground:
        now = ground.clock.now()
        ben = PrincipalCreated(
            id=BEN, kind=PrincipalKind.USER, name="ben", project="default", created_by="local:0", created_at=now
        )
        ground.keeper.commit([("principal", ben.body())], "int_people")


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize("around", [b"", b"# ben's key\n", b"\xff\xfe of another tongue\n"])
def test_a_public_key_is_pinned_and_nothing_else_that_its_file_holds(settings: Settings, around: bytes) -> None:
    key = OwnKey.make()
    made = approvers.pin_key(settings, "ben", around + key.public_pem + around, life=timedelta(days=1))
    assert (made["person"], made["key"]) == (BEN, key.keyid)
    home = home_of(settings)
    (pinned,) = ApproversFile(keys_folder(settings, home), home.id).read().pinned
    assert pinned.key.encode() == key.public_pem


@pytest.mark.usefixtures("people")
def test_a_private_key_is_not_pinned(settings: Settings) -> None:
    with pytest.raises(InputError) as caught:
        approvers.pin_key(settings, "ben", OwnKey.make().sealed_pem("correct horse battery"), life=timedelta(days=1))
    assert caught.value.code == "bad-public-key"
