"""How the control plane reaches outside providers: over https alone, bounded, to no address of this machine's own.

Source: OWASP SSRF Prevention Cheat Sheet. As for issuers' keys (`jwks`), a redirect is an answer like any other.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from casemate.app.jwks import TIMEOUT, Pinned, is_elsewhere, looked_up
from casemate.core import Clock, InputError, Secret, UpstreamError
from casemate.iam.providers.client import ProviderClient
from casemate.keys import Strength, resolve_secret
from casemate.settings import Settings

MAX_ANSWER = 128 << 10  # bytes; a person with 1,000 groups has 60 KiB


def provider_client(settings: Settings, clock: Clock) -> ProviderClient:
    """The client over this machine's network, with the secrets that providers may be told."""
    allowed = (lambda _: True) if settings.providers_here else is_elsewhere

    def ask(url: str, *, ca: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
        return ask_provider(url, ca=ca, headers=headers, body=body, is_allowed=allowed)

    def secret_of(reference: str) -> Secret:
        return provider_secret(reference, folder=settings.provider_secrets, vault=settings.secrets_vault)

    return ProviderClient(ask=ask, secret_of=secret_of, clock=clock)


def provider_secret(reference: str, *, folder: Path, vault: Path | None) -> Secret:
    """What a reference names; of files, those in `folder` alone, since whoever adds a provider chooses whom to tell.

    Raises: InputError, StorageError: as `resolve_secret`.
    """
    if reference.startswith("file://"):
        place = Path(unquote(reference.removeprefix("file://"))).resolve()
        if not place.is_relative_to(folder.expanduser().resolve()):
            raise InputError(
                f"The secret of a provider lies in {folder}: put the file there, or set CASEMATE_PROVIDER_SECRETS.",
                code="bad-secret-reference",
            )
    path = vault.expanduser() if vault else None
    return resolve_secret(reference, setting="the client's secret", strength=Strength.TOKEN, vault=path)


def ask_provider(
    url: str, *, ca: str, headers: dict[str, str], body: bytes | None, is_allowed: Callable[[str], bool] = is_elsewhere
) -> tuple[int, bytes]:
    """Status and body, at most 128 KiB and 10 s. Args: ca: PEM of the one authority to trust; empty: the system's.

    Raises: UpstreamError `provider-unreachable`.
    """
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise _failed("its address is not https")
    deadline = time.monotonic() + TIMEOUT
    try:
        address = looked_up(parts.hostname, parts.port or 443, is_allowed)
    except UpstreamError as error:
        raise _failed("its host is not known, or is this machine (CASEMATE_PROVIDERS_HERE=true allows that)") from error
    connection = Pinned(parts.hostname, parts.port or 443, address, _trusting(ca))
    cut = threading.Timer(TIMEOUT, connection.cut_off)
    cut.daemon = True
    cut.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        method = "GET" if body is None else "POST"
        connection.request(method, target, body=body, headers={**headers, "Connection": "close"})
        with closing(connection.getresponse()) as answer:
            status, found = answer.status, answer.read(MAX_ANSWER + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _failed("it took too long" if time.monotonic() >= deadline else type(error).__name__) from error
    finally:
        cut.cancel()
        connection.close()
    if len(found) > MAX_ANSWER:
        raise _failed(f"its answer is over {MAX_ANSWER} bytes")
    if time.monotonic() >= deadline:
        raise _failed("it took too long")
    return status, found


def _trusting(ca: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cadata=ca or None)
    except (ssl.SSLError, ValueError) as error:
        raise _failed("its certificate authority on record is no PEM") from error


def _failed(why: str) -> UpstreamError:
    return UpstreamError(f"The provider cannot be reached ({why}): try again soon.", code="provider-unreachable")
