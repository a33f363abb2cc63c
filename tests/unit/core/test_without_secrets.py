"""No secret of ours, nor a piece of one that matters, is left in what is repeated."""

from __future__ import annotations

import pytest

from casemate.core import without_secrets
from casemate.iam.bearer import Kind, new_secret


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_of_secret_is_named_instead_of_shown(kind: Kind) -> None:
    secret = new_secret(kind, lambda n: b"\xa5" * n)
    name = "[API key]" if kind is Kind.KEY else "[secret]"
    assert without_secrets(f"it was {secret}.") == f"it was {name}."
    assert without_secrets(secret[: len(kind) + 16]) == name, "a cut leaves a piece"


def test_a_signed_token_is_named_and_plain_text_stays() -> None:
    assert without_secrets("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln") == "[token]"
    assert without_secrets("cm_short and cmx, casemate_model") == "cm_short and cmx, casemate_model"
