"""Names that only look like others, or hold what is no part of a name, are refused at every door, and find nobody."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from iam_house import OWNER, START, House, grant_body
from odd_names import ODD, REAL

from casemate.core import CasemateError, InputError, NotFoundError, VerificationError, checked_name, parse_ref
from casemate.iam import find_person, invite, key_request, parse_scope, person_request
from casemate.iam.records import PrincipalCreated, read_record
from casemate.iam.tokens.issuers import find_issuer, issuer_request

odd = pytest.mark.parametrize("name", ODD.values(), ids=ODD)


def asked(name: str) -> Any:
    return person_request(name, role="caller", scope="*", now=START)


DOORS: dict[str, Callable[[str], Any]] = {
    "a name": checked_name,
    "a reference": parse_ref,
    "a scope": lambda name: parse_scope(f"model:{name}"),
    "a person": asked,
    "a key": lambda name: key_request(name, role="caller", scope="*", now=START),
    "a key's scope": lambda name: key_request("web", role="caller", scope=f"deployment:{name}", now=START),
    "an issuer": lambda name: issuer_request(
        name, kind="generic", issuer="https://idp.example", audience="us", algorithms=["ES256"], source=""
    ),
}


@odd
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_it_is_refused_in_one_sentence(door: Callable[[str], Any], name: str) -> None:
    with pytest.raises(InputError) as caught:
        door(name)
    assert "\n" not in caught.value.message
    assert "\x00" not in caught.value.message


@odd
def test_the_ledger_takes_none_whoever_signed_it(name: str) -> None:
    right = PrincipalCreated(
        id="usr_" + "0" * 32, kind="user", name="ada", project="default", created_by=OWNER.id, created_at=START
    ).body()
    assert read_record("principal", right)
    for member in ("name", "project", "id"):
        value = right["id"] + name if member == "id" and name.strip("abcdef0123456789") else name
        if value == right[member]:
            continue
        with pytest.raises(VerificationError):
            read_record("principal", {**right, member: value})
    with pytest.raises(VerificationError):
        read_record("grant", {**grant_body(1, right["id"]), "scope": f"model:{name}"})


@odd
def test_it_finds_nobody_who_is_called_nearly_so(name: str) -> None:
    house = House()
    for real in REAL:
        house.append(invite(house.access, asked(real), by=OWNER).entries)
    with pytest.raises(NotFoundError):
        find_person(house.access, name)
    with pytest.raises(NotFoundError):
        find_issuer(house.access, name)


def test_no_valid_name_is_another_under_any_reading() -> None:
    """What a name may hold is the same after each way in which systems make texts equal."""
    whole = "abcdefghijklmnopqrstuvwxyz0123456789-"
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert unicodedata.normalize(form, whole) == whole
    assert whole.casefold() == whole.lower() == whole


@pytest.mark.parametrize("end", ["\n", "\x00", " "])
def test_an_id_ends_where_it_ends(end: str) -> None:
    body = grant_body(1, "svc_" + "0" * 32)
    assert read_record("grant", body)
    for member in ("id", "principal", "scope"):
        with pytest.raises(CasemateError):
            read_record("grant", {**body, member: body[member] + end})
