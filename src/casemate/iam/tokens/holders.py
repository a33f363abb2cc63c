"""Whoever a credential proves, if it counts now: asked of the newest snapshot at every use."""

from __future__ import annotations

from datetime import datetime

from casemate.core import AuthError, Principal
from casemate.iam.access import Access
from casemate.iam.tokens.records import TokenBinding


def holder_of(access: Access, credential_id: str, now: datetime) -> Principal:
    """Args: credential_id: that something which was verified has named.

    Raises: AuthError: bad-token, revoked-credential, expired-credential.
    """
    snapshot = access.snapshot
    credential = snapshot.credentials.get(credential_id)
    if credential is None:
        raise AuthError("What this token was got with is not on record.", code="bad-token")
    ended = {credential.id, credential.principal}
    if isinstance(credential, TokenBinding):
        ended.add(credential.issuer)
    details: dict[str, object] = {"credential": credential.id}
    if ended & snapshot.revoked:
        raise AuthError("What proves you was revoked: ask an owner.", code="revoked-credential", details=details)
    if access.instant(now) >= credential.expires_at:
        raise AuthError("What proves you has expired: ask an owner.", code="expired-credential", details=details)
    known = snapshot.principals[credential.principal]
    return Principal(
        id=known.id, kind=known.kind, name=credential.name, project=credential.project, credential=credential.id
    )
