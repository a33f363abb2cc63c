"""What answers instead of a control plane is named."""

from __future__ import annotations

import httpx
import pytest

from casemate.client import answers
from casemate.core import NotFoundError, UpstreamError
from casemate.doors import problems


def answer(error: Exception) -> httpx.Response:
    told = problems.problem_of(error)
    return httpx.Response(told.status, content=told.body)


def test_a_gateway_is_no_control_plane() -> None:
    assert answers.TYPE_PREFIX == problems.TYPE_PREFIX
    told = answers.error_in(answer(NotFoundError("Nothing is served at this path.", code="no-such-route")))
    assert (type(told), told.code) == (UpstreamError, "no-control-plane")
    assert "8444" in told.message


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"type": 1}'])
def test_what_is_none_of_ours_says_nothing(body: bytes) -> None:
    assert answers.error_in(httpx.Response(404, content=body)).code == "no-answer"
