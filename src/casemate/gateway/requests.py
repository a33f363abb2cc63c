"""One request as it came, before any guard has seen it."""

from __future__ import annotations

from typing import Any

from casemate.core import Action, InputError, Principal, TooLargeError
from casemate.gateway.limits import Allowance, HeldBytes

MAX_LENGTH_DIGITS = 18  # of Content-Length; more is no honest size


class RawRequest:
    """Unchecked. `principal` and `allowance` are filled in by the guards that learn them, for the record."""

    __slots__ = (
        "_content_length",
        "_receive",
        "action",
        "address",
        "allowance",
        "authorization",
        "certificate",
        "client",
        "deployment",
        "principal",
        "version",
    )

    def __init__(
        self,
        *,
        action: Action,
        deployment: str,
        version: str,
        authorization: str,
        address: str,
        content_length: bytes | None,
        client: str = "",
        receive: Any,
        certificate: bytes = b"",
    ) -> None:
        self.action = action
        self.deployment = deployment
        self.version = version
        self.authorization = authorization
        self.address = address
        self.client = client
        self.certificate = certificate  # the client's, DER, as TLS verified it; empty where it showed none
        self.principal: Principal | None = None
        self.allowance: Allowance | None = None
        self._content_length = content_length
        self._receive = receive

    async def read_body(self, limit: int, held: HeldBytes) -> bytes:
        """The whole body, of `limit` bytes at most; nothing is read beyond.

        Raises: TooLargeError `body-too-large`; LimitError: all bodies together are too large; InputError `body-cut-off`: the client went away.
        """
        announced = self._content_length
        if announced is not None and (len(announced) > MAX_LENGTH_DIGITS or int(announced) > limit):
            raise _too_large(limit)
        message = await self._receive()
        if message["type"] == "http.request" and not message["more_body"]:
            body: bytes = message["body"]  # the usual case: it came in one piece
            if len(body) > limit:
                raise _too_large(limit)
            held.add(len(body))
            return body
        parts = bytearray()
        while True:
            if message["type"] != "http.request":
                raise InputError("The body was cut off: send it whole.", code="body-cut-off")
            parts += message["body"]
            if len(parts) > limit:
                raise _too_large(limit)
            held.add(len(message["body"]))
            if not message["more_body"]:
                return bytes(parts)
            message = await self._receive()


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"The body is larger than {limit} bytes: split it into several requests.", code="body-too-large"
    )
