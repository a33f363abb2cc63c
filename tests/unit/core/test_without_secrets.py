"""No secret of ours, nor a piece of one that matters, is left in what is repeated."""

from __future__ import annotations

import secrets

import pytest

from casemate.core import without_secrets
from casemate.iam.bearer import Kind, new_secret
from casemate.iam.factors import new_recovery_codes


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_of_secret_is_named_instead_of_shown(kind: Kind) -> None:
    secret = new_secret(kind, lambda n: b"\xa5" * n)
    name = "[API key]" if kind is Kind.KEY else "[secret]"
    assert without_secrets(f"it was {secret}.") == f"it was {name}."
    assert without_secrets(secret[: len(kind) + 16]) == name, "a cut leaves a piece"


def test_a_signed_token_is_named_and_plain_text_stays() -> None:
    assert without_secrets("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln") == "[token]"
    assert without_secrets("cm_short and cmx, casemate_model") == "cm_short and cmx, casemate_model"


def test_a_recovery_code_is_named_and_a_name_of_five_words_is_not() -> None:
    codes = new_recovery_codes(secrets.token_bytes)
    for code in (one for one in codes if any(map(str.isdigit, one))):
        assert without_secrets(f"it was {code}.") == "it was [secret]."
        assert without_secrets(code.upper()) == "[secret]"
    for name in (
        "super-extra-large-model-final",
        "01a21de4-b730-7a4b-a528-835fed18d329",
        "a2345-b2345-c2345-d2345-e2345-f2345",
    ):
        assert without_secrets(name) == name
