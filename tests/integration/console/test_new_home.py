"""A home that was just made has no account, key, issuer or grant that anybody could guess or inherit."""

from __future__ import annotations

from casemate.client import Casemate
from casemate.console import Services


def test_a_new_home_has_nobody_in_it(services: Services, casemate: Casemate) -> None:
    assert (casemate.keys(), casemate.people.all(), casemate.issuers.all(), casemate.grants.all()) == ([], [], [], [])
    snapshot = services.access.snapshot
    assert (dict(snapshot.principals), dict(snapshot.credentials), dict(snapshot.granted)) == ({}, {}, {})
