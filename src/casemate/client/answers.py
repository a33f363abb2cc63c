"""What a control plane answers: streams, and problem documents as the errors that they were there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import httpx
import msgspec

from casemate.core import CasemateError, InputError, LimitError, UpstreamError, errors, is_text

TYPE_PREFIX = "https://casemate.dev/problems/"  # of every problem document of ours
_LONGEST = 10_000  # characters of one value; the door reads 16 KiB of head
_LONGEST_REASON = 500  # characters, as the door takes them


def checked_body(**values: str) -> dict[str, str]:
    """What can be sent of these. Raises: InputError `bad-value`, naming the value and never saying it."""
    for name, text in values.items():
        if text != text.encode(errors="replace").decode():
            raise InputError(f"The {name} is not valid text: type it again.", code="bad-value")
    return values


def json_body(value: Mapping[str, Any], what: str) -> bytes:
    """As it is sent. Args: what: it is called in the error. Raises: InputError `bad-value`: it holds what is no plain text or number."""
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"The {what} holds what is no plain text: mend it.", code="bad-value") from error


def checked_query(values: dict[str, Any]) -> dict[str, str | list[str]]:
    """What can be sent of these values, without the empty ones; a list is sent value by value.

    Raises: InputError `bad-value`, naming it.
    """
    query: dict[str, str | list[str]] = {
        name: [str(one) for one in value] if isinstance(value, list) else str(value)
        for name, value in values.items()
        if value not in (None, "", [])
    }
    for name, text in (
        (name, one) for name, value in query.items() for one in ([value] if isinstance(value, str) else value)
    ):
        longest = _LONGEST_REASON if name == "reason" else _LONGEST
        if len(text) > longest:
            raise InputError(f"The {name} has {len(text)} characters; {longest} are allowed.", code="bad-value")
        if not is_text(text):
            raise InputError(f"The {name} {text[:80]!r} is not valid text: write it as UTF-8.", code="bad-value")
    return query


@contextmanager
def answered() -> Iterator[None]:
    """What fails between us and the server is an UpstreamError."""
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UpstreamError(f"The control plane does not answer ({error}).", code="no-answer") from error


class Download:
    """A streamed answer; raises before the first byte when the server refused."""

    def __init__(
        self,
        http: httpx.Client,
        url: str,
        query: dict[str, str | list[str]],
        stepped_up: Callable[[httpx.Response], bool],
        *,
        method: str = "GET",
    ) -> None:
        self._http, self._url, self._query, self._stepped_up = http, url, query, stepped_up
        self._method = method

    def __enter__(self) -> httpx.Response:
        if not self._ask() and not (self._stepped_up(self._response) and self._ask()):
            raise error_in(self._response)
        return self._response

    def _ask(self) -> bool:
        """Whether the server answers with what was asked for."""
        with answered():
            self._response = self._http.send(
                self._http.build_request(self._method, self._url, params=self._query), stream=True
            )
            if not self._response.is_success:
                with closing(self._response):
                    self._response.read()
        return self._response.is_success

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._response.close()
        if isinstance(error, httpx.HTTPError):
            raise UpstreamError(f"The answer broke off ({error}): ask again.", code="cut-off") from error


def wants_step_up(response: httpx.Response) -> bool:
    """Whether a fresh second factor would do. Source: RFC 9470, section 3."""
    challenge = response.headers.get("WWW-Authenticate", "")
    return response.status_code == 401 and 'error="insufficient_user_authentication"' in challenge


def error_in(response: httpx.Response) -> CasemateError:
    """The error that a problem document tells of."""
    try:
        problem = response.json()
        if isinstance(problem, dict) and "family" not in problem and str(problem.get("type")).startswith(TYPE_PREFIX):
            return UpstreamError(
                "A gateway answers there, which takes predictions only: name the control plane's port, 8444 by default.",
                code="no-control-plane",
            )
        family, code, message = problem["family"], problem["code"], problem["detail"]
    except (ValueError, KeyError, TypeError):
        return UpstreamError(f"The server answered {response.status_code} without saying why.", code="no-answer")
    if family == "LimitError":
        return LimitError(message, code=code, retry_after=float(response.headers.get("Retry-After", 1)))
    kind = getattr(errors, str(family), CasemateError)
    error: CasemateError = kind(message, code=code)
    return error


def is_pairs(given: object) -> bool:
    """Whether it is a mapping of text to text that can be sent."""
    return isinstance(given, Mapping) and all(
        isinstance(text, str) and is_text(text) for pair in given.items() for text in pair
    )
