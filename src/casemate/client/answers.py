"""What a control plane answers: streams, and problem documents as the errors that they were there."""

from __future__ import annotations

import httpx

from casemate.core import CasemateError, LimitError, UpstreamError, errors


class Download:
    """A streamed answer; raises before the first byte when the server refused."""

    def __init__(self, http: httpx.Client, url: str, query: dict[str, str]) -> None:
        self._http, self._request = http, http.build_request("GET", url, params=query)

    def __enter__(self) -> httpx.Response:
        self._response = self._http.send(self._request, stream=True)
        if not self._response.is_success:
            self._response.read()
            raise error_in(self._response)
        return self._response

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._response.close()
        if isinstance(error, httpx.HTTPError):
            raise UpstreamError(f"The answer broke off ({error}): ask again.", code="cut-off") from error


def error_in(response: httpx.Response) -> CasemateError:
    """The error that a problem document tells of."""
    try:
        problem = response.json()
        family, code, message = problem["family"], problem["code"], problem["detail"]
    except (ValueError, KeyError, TypeError):
        return UpstreamError(f"The server answered {response.status_code} without saying why.", code="no-answer")
    if family == "LimitError":
        return LimitError(message, code=code, retry_after=float(response.headers.get("Retry-After", 1)))
    kind = getattr(errors, str(family), CasemateError)
    error: CasemateError = kind(message, code=code)
    return error
