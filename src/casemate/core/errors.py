"""Every error that Casemate raises, by what the caller can do about it.

    CasemateError
    +-- InputError            the request is wrong: mend it and send it again
    |   +-- NotFoundError     no such thing, or none that you may see
    |   +-- ConflictError     it exists already, or has moved on meanwhile
    |   +-- TooLargeError     over a stated bound
    +-- AuthError             we do not know who you are
    |   +-- StepUpError       we do, and want a second factor that is fresh
    +-- PolicyError           we know you, and you may not
    +-- LimitError            too much or too soon: come back after `retry_after` seconds
    +-- VerificationError     bytes, signature or record are not what was signed
    +-- StorageError          the disk, the database or a key could not serve; nothing was lost
    +-- SandboxError          the walls could not be raised, or a confined process failed
    +-- UpstreamError         another system did not answer as it should

Doors map families to HTTP statuses; nothing below a door knows about HTTP.
"""

from __future__ import annotations


class CasemateError(Exception):
    """A failure with a stable code, a message safe to show, and details for the log only.

    Args:
        message: One sentence for the person: what is wrong, which limit, what to do next. Never a secret.
        code: Stable, kebab-case, unique per cause; documented and safe to match on.
        details: Facts for the audit log; never sent to a client.
    """

    code = "internal"

    def __init__(self, message: str, *, code: str | None = None, details: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.details = details or {}


class InputError(CasemateError):
    code = "bad-input"


class NotFoundError(InputError):
    code = "not-found"


class ConflictError(InputError):
    code = "conflict"


class TooLargeError(InputError):
    code = "too-large"


class AuthError(CasemateError):
    code = "unauthenticated"


class StepUpError(AuthError):
    """The person may do this right after a second factor. Source: RFC 9470, section 3."""

    code = "step-up-required"


class PolicyError(CasemateError):
    code = "forbidden"


class LimitError(CasemateError):
    """Args: retry_after: seconds until a new attempt can succeed, > 0."""

    code = "limited"

    def __init__(
        self,
        message: str,
        *,
        retry_after: float,
        code: str | None = None,
        details: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message, code=code, details=details)
        self.retry_after = retry_after


class VerificationError(CasemateError):
    code = "unverified"


class StorageError(CasemateError):
    code = "storage"


class SandboxError(CasemateError):
    code = "sandbox"


class UpstreamError(CasemateError):
    code = "upstream"


def refused_by_system(error: OSError) -> CasemateError:
    """What the operating system refused, in one sentence: an InputError where a file is named, else a StorageError."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return StorageError(f"The system refused: {reason}.", code="system")
    code = _SYSTEM_CODES.get(type(error), "bad-file")
    return InputError(f"{error.filename}: {reason}.", code=code)


_SYSTEM_CODES = {
    FileNotFoundError: "no-file",
    PermissionError: "no-permission",
    FileExistsError: "exists",
    IsADirectoryError: "not-a-file",
    NotADirectoryError: "not-a-folder",
}
