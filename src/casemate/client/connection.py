"""How a request travels: over HTTPS with a key, or over the Unix socket of a home; once more after a fresh second factor."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import httpx
import msgspec

from casemate.client.answers import Download, answered, checked_query, error_in, json_body, wants_step_up
from casemate.client.files import CHUNK, write_private_file
from casemate.core import InputError, UpstreamError, new_id

_TIMEOUT = httpx.Timeout(10, read=25 * 3600)  # seconds; training answers when it is done, and may take a day


class StepUp(Protocol):
    """Whoever can be asked for a fresh second factor, and keeps the session's new token."""

    def code(self) -> str: ...
    def keep(self, token: str) -> None: ...


class Connection:
    """One control plane, under /api/v1. Args: as of `Casemate`."""

    def __init__(
        self, *, server: str, key: str, ca: Path | str | None, socket: Path | str | None, step_up: StepUp | None
    ) -> None:
        self._step_up = step_up
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.folder = -1
        if socket is not None:
            # A path through the folder's descriptor, since a socket's own path may not exceed 107 bytes.
            self.folder = os.open(Path(socket).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            no_tls = ssl.SSLContext(
                ssl.PROTOCOL_TLS_CLIENT
            )  # else the system's certificates would be read, for nothing
            transport = httpx.HTTPTransport(uds=f"/proc/self/fd/{self.folder}/{Path(socket).name}", verify=no_tls)
            self.http = httpx.Client(base_url="http://casemate", transport=transport, headers=headers, timeout=_TIMEOUT)
            return
        if not server.startswith("https://"):
            raise InputError("The server's address must start with https://.", code="bad-server")
        if not key.isascii():
            raise InputError("The key is not one that Casemate issued: copy it whole.", code="bad-key")
        try:
            self.http = httpx.Client(base_url=server, headers=headers, verify=_trust(ca), timeout=_TIMEOUT)
        except httpx.InvalidURL as error:
            raise InputError(f"{server[:80]!r} is not an address: {error}.", code="bad-server") from error
        port = self.http.base_url.port
        if not self.http.base_url.host or (port is not None and not 0 < port < 1 << 16):
            self.http.close()
            raise InputError(
                f"{server[:80]!r} is not an address: write https://HOST:PORT, with a port from 1 to 65535.",
                code="bad-server",
            )

    def close(self) -> None:
        self.http.close()
        if self.folder >= 0:
            os.close(self.folder)

    def get(self, path: str, query: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.answer(self.send("GET", path, query=query))

    def items(self, path: str, query: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """All items of a list, page by page, up to the `limit` in the query."""
        query, items = dict(query or {}), []
        while True:
            page = self.get(path, query)
            items += page["items"]
            if not page["next"] or len(items) >= int(query.get("limit") or 1 << 62):
                return items
            query["after"] = page["next"]

    def change(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **request: Any
    ) -> dict[str, Any]:
        headers = {"Idempotency-Key": new_id("req"), **(headers or {})}
        return self.answer(self.send(method, path, headers=headers, **request))

    def send(self, method: str, path: str, *, query: dict[str, Any] | None = None, **request: Any) -> httpx.Response:
        params = checked_query(query or {})
        if (body := request.pop("json", None)) is not None:
            request["content"] = json_body(body, "request")
            request["headers"] = {"Content-Type": "application/json", **request.get("headers", {})}
        with answered():
            response = self.http.request(method, "/api/v1" + path, params=params, **request)
        if isinstance(request.get("content", b""), bytes) and self._stepped_up(response):
            with answered():
                response = self.http.request(method, "/api/v1" + path, params=params, **request)
        return response

    def opened(self, path: str, reason: str, *, start: int = 0) -> Download:
        """A file to read. Args: start: the byte to go on from."""
        query = checked_query({"reason": reason, "start": start or None})
        return Download(self.http, "/api/v1" + path, query, self._stepped_up)

    def told_once(self, path: str, query: dict[str, Any]) -> Download:
        """A file to read that a POST answers with: what leaves is on record first, and asking again is another act."""
        return Download(self.http, "/api/v1" + path, checked_query(query), self._stepped_up, method="POST")

    def lines(self, path: str, query: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What the server says line by line, as it comes."""
        with Download(self.http, "/api/v1" + path, checked_query(query), lambda _: False) as response:
            for line in response.iter_lines():
                if line.strip():
                    yield msgspec.json.decode(line, type=dict[str, Any])

    def _stepped_up(self, response: httpx.Response) -> bool:
        """Whether the server wanted a fresh second factor and has got it, so that the request can be made again."""
        if self._step_up is None or not wants_step_up(response):
            return False
        code = self._step_up.code()
        with answered():
            verified = self.http.post("/api/v1/session/verification", json={"code": code})
        answer = self.answer(verified)
        if token := answer.get("token"):
            self.http.headers["Authorization"] = f"Bearer {token}"
            self._step_up.keep(str(token))
        return True

    def download(self, path: str, to: Path, reason: str) -> Path:
        with self.opened(path, reason) as response:
            return write_private_file(to, response.iter_bytes(CHUNK))

    @staticmethod
    def answer(response: httpx.Response) -> dict[str, Any]:
        if not response.is_success:
            raise error_in(response)
        try:
            value = response.json()
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise UpstreamError("What answers there is no control plane of Casemate.", code="no-answer")
        return value


def _trust(ca: Path | str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except OSError as error:  # SSLError is one
        raise InputError(
            f"The certificate authority {ca} cannot be read ({error.strerror or error}): name a PEM file.",
            code="bad-ca",
        ) from error
