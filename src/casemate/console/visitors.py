"""From where a request comes and what it proves itself with: a bearer token, or a browser's cookie.

A cookie is sent by any page that makes the browser ask, so it counts for a change only with a token that no other page can
know, and never across sites. Sources: RFC 6265bis, section 4.1.3.2 (`__Host-`); OWASP CSRF Prevention Cheat Sheet (signed
double submit, Fetch Metadata); W3C Fetch Metadata.
"""

import hashlib
import hmac
from urllib.parse import urlsplit

from fastapi import Request, Response

from casemate.core import AuthError, client_of
from casemate.iam import Visitor

LOCAL_ADDRESS = "local"  # of who comes over the home's own socket
COOKIE, DEVICE_COOKIE = "__Host-casemate", "__Host-casemate-device"
CHALLENGE_COOKIE = "__Host-casemate-challenge"  # of the browser that was given a challenge, while it may be answered
CSRF_HEADER = "X-CSRF-Token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_CHALLENGE_KEPT = 120  # s; `iam.challenges.LIFE`
_DEVICE_KEPT = 90 * 86400  # s


def visitor_of(request: Request) -> Visitor:
    """Who comes, from where, and what it calls itself."""
    return Visitor(
        address=request.client.host if request.client else LOCAL_ADDRESS,
        client=client_of(request.headers.get("user-agent", "")),
        device=request.cookies.get(DEVICE_COOKIE, ""),
    )


def credential_of(request: Request, authorization: str) -> str:
    """The token that a request bears; a header goes before a cookie. Raises: AuthError `no-credential`, `cross-site`."""
    cookie = request.cookies.get(COOKIE, "")
    if authorization or not cookie:
        return _bearer(authorization)
    check_own_site(request)
    if request.method not in _SAFE and not _has_csrf(request, cookie):
        raise _cross_site()
    return cookie


def check_own_site(request: Request) -> None:
    """Return if a page of ours asks, or the person. Raises: AuthError `cross-site`."""
    if not _is_own(request):
        raise _cross_site()


def _cross_site() -> AuthError:
    return AuthError(
        f"This request came from another site, or without {CSRF_HEADER}: a page asks GET /api/v1/session for it.",
        code="cross-site",
    )


def csrf_token(session_token: str) -> str:
    """What a page sends along with a change; only who has read an answer of ours, or the cookie, can know it."""
    return hashlib.sha256(f"casemate csrf {session_token}".encode(errors="replace")).hexdigest()


def csrf_of(request: Request) -> str:
    """The token that goes with the request's cookie; empty where it bears none."""
    cookie = request.cookies.get(COOKIE, "")
    return csrf_token(cookie) if cookie else ""


def set_cookies(response: Response, token: str, device: str = "") -> None:
    """Keep the session in the browser, out of reach of scripts, until the browser closes or it ends."""
    common = {"secure": True, "httponly": True, "path": "/"}
    response.set_cookie(COOKIE, token, samesite="strict", **common)  # type: ignore[arg-type]
    if device:
        response.set_cookie(DEVICE_COOKIE, device, samesite="strict", max_age=_DEVICE_KEPT, **common)  # type: ignore[arg-type]


def set_challenge_cookie(response: Response, browser: str) -> None:
    """What tells this browser from another until it has signed in."""
    response.set_cookie(
        CHALLENGE_COOKIE, browser, secure=True, httponly=True, path="/", samesite="strict", max_age=_CHALLENGE_KEPT
    )


def drop_challenge_cookie(response: Response) -> None:
    response.delete_cookie(CHALLENGE_COOKIE, path="/", secure=True, httponly=True, samesite="strict")


def drop_cookie(response: Response) -> None:
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")


def _is_own(request: Request) -> bool:
    """Whether the browser says that a page of ours, or the person, asked. One that says nothing is too old to trust."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host", ""):
        return False
    if site is None:
        return origin is not None or request.method in _SAFE
    return site == "same-origin" or (site == "none" and request.method in _SAFE)


def _has_csrf(request: Request, token: str) -> bool:
    sent = request.headers.get(CSRF_HEADER, "")
    return hmac.compare_digest(sent.encode(errors="replace"), csrf_token(token).encode())


def _bearer(header: str) -> str:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise AuthError("Send a key or a session: Authorization: Bearer cm_...", code="no-credential")
    return token.strip()
