"""What has the shape of a secret of ours, and text without it: for whatever repeats what somebody typed."""

from __future__ import annotations

import re

# An API key, a session, an invitation or a device's secret (`iam.bearer`), and any part of one that is long enough to
# matter, since messages cut what they repeat; a signed token, which begins with the base64url of `{"`; and a recovery code
# (`iam.factors`), of which all but one in 180 hold a digit: five words of five letters may be a name.
_SECRET = re.compile(
    r"cm[a-z]?_[A-Za-z0-9_-]{16,}|eyJ[A-Za-z0-9_-]{12,}(?:\.[A-Za-z0-9_-]*){0,2}"
    r"|(?<![A-Za-z0-9-])(?=[A-Za-z-]{0,28}[2-7])[A-Za-z2-7]{5}(?:-[A-Za-z2-7]{5}){4}(?![A-Za-z0-9-])",
    re.ASCII,
)


def without_secrets(text: str) -> str:
    """`text` with what we hand out and signed tokens named instead of shown. Other secrets have no shape to be known by."""
    return _SECRET.sub(lambda found: _name_of(found[0]), text)


def _name_of(secret: str) -> str:
    if secret.startswith("eyJ"):
        return "[token]"
    return "[API key]" if secret.startswith("cm_") else "[secret]"
