"""A new signing key is trusted on the old one's word alone."""

from __future__ import annotations

import base64

import pytest
from release_parts import KeyHolder

from casemate.core import VerificationError
from casemate.keys import Purpose
from casemate.signing import TrustPolicy, initial_trust, successor_trust


def body(before: KeyHolder, after: KeyHolder, by: KeyHolder | None = None) -> dict:
    return successor_trust(before.pem, after.pem, lambda payload: (by or before).sign(Purpose.RELEASE, payload))


def refused(*bodies: dict) -> bool:
    with pytest.raises(VerificationError) as error:
        TrustPolicy.fold(bodies)
    return error.value.code == "trust-malformed"


def test_each_key_endorses_the_next() -> None:
    first, second, third = KeyHolder(), KeyHolder(), KeyHolder()
    TrustPolicy.fold([initial_trust(first.pem), body(first, second), body(second, third)])


def test_an_endorsement_by_another_key_for_another_or_by_nobody_trusted_is_refused() -> None:
    first, second, thief = KeyHolder(), KeyHolder(), KeyHolder()
    trust = dict(initial_trust(first.pem))
    assert refused(trust, body(first, second, by=thief))
    assert refused(trust, body(thief, second))
    assert refused(trust, body(first, second) | {"pem": thief.pem.decode()})
    assert refused(trust, body(first, second) | {"endorsement": ""})
    assert refused(trust, body(first, second) | {"endorsement": base64.b64encode(b"x").decode()})
    assert refused(body(first, second))
    assert refused(trust, trust | {"removed": True}, body(first, second))
