"""The certificate of both doors: renewed in time where it is ours, and a warning in time where the operator gave it."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import Any

from casemate.core import CasemateError, rfc3339
from casemate.keys import ServerCertificate, find_server_certificate, init_tls

_log = logging.getLogger("casemate")


def renew_certificate(public: Path, private: Path, *, now: datetime) -> bool:
    """Renew the local certificate when less than a third of its life is left; log that, or what keeps it from being renewed.

    Args: public, private: as `init_tls`.
    Returns: whether there is a new one, which the doors are to read.
    """
    try:
        found = find_server_certificate(private)
        if found is None or not found.is_due(now):
            return False
        init_tls(public, private, now=now)
        renewed = find_server_certificate(private)
    except (CasemateError, OSError) as error:
        _log.warning("the certificate could not be renewed: %s", error)
        return False
    assert renewed is not None, "it was just made"
    _log.warning("the certificate was valid until %s; renewed until %s", rfc3339(found.until), rfc3339(renewed.until))
    return True


def warn_of_end(private: Path, *, now: datetime) -> None:
    """Log that the certificate ends soon, or has ended, as far as that can be told."""
    try:
        found = find_server_certificate(private)
    except (CasemateError, OSError):  # whoever loads it says so
        return
    if found is not None and (advice := advice_on(found, now)):
        _log.warning("the certificate is valid until %s: %s", rfc3339(found.until), advice)


def advice_on(found: ServerCertificate, now: datetime) -> str:
    """What to do about it; empty when there is time."""
    if not found.ends_soon(now):
        return ""
    if found.given:
        return f"put a new one at {found.path}, with its key beside it, and start again or send SIGHUP."
    return "casemate up renews it when it starts, and so does casemate init."


def certificate_row(private: Path, *, now: datetime) -> dict[str, Any]:
    """The row of `casemate doctor`."""
    row = {"name": "certificate", "state": "missing", "detail": str(private), "mend": "Make it: casemate init."}
    try:
        found = find_server_certificate(private)
    except CasemateError as error:
        return row | {"mend": error.message}
    if found is None:
        return row
    kind = "given" if found.given else "of the home's own authority"
    detail = f"{kind}, valid until {rfc3339(found.until)}"
    ended = not found.since <= now < found.until
    return row | {"state": "missing" if ended else "present", "detail": detail, "mend": advice_on(found, now)}
