"""A key's rate, as an earlier release may have put it on record, never breaks what counts it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from casemate.app.gateway import rate_of
from casemate.core import Principal, PrincipalKind
from casemate.gateway.limits import Limits, LimitsConfig

CALLER = Principal(id="svc_1", kind=PrincipalKind.SERVICE, name="web", credential="key_1")


@pytest.mark.parametrize("rate", [1e-320, 0.001, 50.0, 1e300, float("inf")])
def test_any_rate_on_record_can_be_counted(rate: float) -> None:
    access = SimpleNamespace(snapshot=SimpleNamespace(credentials={"key_1": SimpleNamespace(rate=rate)}))
    held = rate_of(access, CALLER)
    assert held is not None
    allowance = Limits(LimitsConfig(), monotonic=lambda: 0.0).take_key("key_1", held)
    assert allowance.headers()
    assert allowance.window <= 1000
