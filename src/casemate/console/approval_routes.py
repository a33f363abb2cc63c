"""Approvals of model versions: what one signs, and the approval, with or without a signature of one's own."""

from typing import Any, Literal

import msgspec

from casemate.console.asset_routes import Body, numbered, plain
from casemate.console.callers import Call, Caller
from casemate.console.data_asked import class_of_model, model_version
from casemate.console.door import Door, UndecidedError
from casemate.core import Action, CasemateError, Environment, InputError, Resource, parse_ref
from casemate.iam.passkeys import decode_base64url, encode_base64url
from casemate.registry import APPROVALS, PASSKEY, challenge, passkey_envelope
from casemate.signing import strict_base64

_MAX_BODY = 65536  # bytes; the envelope around an RSA-signed answer of a passkey has under 10,000
_WAIT = 120_000  # ms that a browser waits for its person


class Signed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body. Args: envelope: signed with a key of one's own; or else payload, as it was given, and a browser's answer."""

    envelope: str = ""
    payload: str = ""
    passkey: dict[str, Any] | None = None


def declare(door: Door) -> None:
    """The routes under /models/{name}/versions/{version}/approvals."""

    @door.read("/models/{name}/versions/{version}/approvals/words", Action.MODEL_READ, about=model_version)
    def words(call: Caller, name: str, version: str, environment: Environment = Environment.DEV) -> dict[str, Any]:
        """What you would sign to approve a version with a key of your own, and who has. Signing it changes nothing."""
        found = call.services.models.approval_words(numbered(name, version), environment, approver=call.principal)
        options = _options(found.payload, found.passkeys, call) if found.passkeys else None
        return {**plain(found), "needed": plain(APPROVALS), "passkey_options": options}

    @door.change("POST", "/models/{name}/versions/{version}/approvals", Action.MODEL_APPROVE, about=_approved)
    def approve(
        call: Caller, name: str, version: str, body: Body, environment: Environment = Environment.DEV
    ) -> dict[str, Any]:
        """Say, signed, that a version may be deployed to an environment. The body, if any, bears your own signature."""
        return plain(
            call.services.models.approve(
                numbered(name, version),
                environment,
                actor=call.principal,
                intent=call.intent,
                reason=call.reason,
                self_approved=call.decision.self_approved,
                own=_envelope(body.whole(_MAX_BODY)),
            )
        )


def _options(payload: str, passkeys: tuple[str, ...], call: Call) -> dict[str, Any]:
    """What a browser needs to ask for one of these passkeys. The challenge is what is signed, so it needs no keeping."""
    kind: Literal["public-key"] = "public-key"
    return {
        "challenge": encode_base64url(challenge(strict_base64(payload))),
        "timeout": _WAIT,
        "rpId": call.services.passkey_sign_in.party.rp_id,
        "allowCredentials": [{"type": kind, "id": one} for one in passkeys],
        "userVerification": "required",
    }


def _envelope(body: bytes) -> str:
    """The signed envelope that a body bears; empty for none. Raises: InputError `bad-signed-approval`."""
    if not body:
        return ""
    try:
        signed = msgspec.json.decode(body, type=Signed)
    except msgspec.DecodeError as error:
        raise _bad() from error
    if signed.passkey is None:
        return signed.envelope
    credential = signed.passkey.get("id")
    if not isinstance(credential, str) or signed.envelope:
        raise _bad()
    decode_base64url(credential, "bad-assertion")
    return passkey_envelope(strict_base64(signed.payload), signed.passkey, PASSKEY + credential)


def _bad() -> InputError:
    return InputError(
        "The body is no signed approval: an envelope, or a payload with a passkey's answer.", code="bad-signed-approval"
    )


def _approved(call: Call, arguments: dict[str, Any]) -> Resource:
    """Four eyes depend on who pushed the version, and on the environment.

    Who may approve nothing of that name is asked about alike whether the version is there or not, so the refusal
    does not tell. That somebody who may asked for one that cannot be read is on record.
    """
    ref = parse_ref(f"{arguments['name']}@{arguments['version']}")
    environment = Environment(arguments["environment"])
    unknown = Resource("model", ref.name, environment=environment, attributes={"pushed_by": ""})
    if not call.services.authorizer.decide(call.principal, Action.MODEL_APPROVE, unknown, **call.origin).allowed:
        return unknown
    ref = numbered(arguments["name"], arguments["version"])
    try:
        pushed_by = call.services.models.pusher(ref)
    except CasemateError as error:
        raise UndecidedError(unknown, error) from error
    attributes: dict[str, str | int | bool] = {"pushed_by": pushed_by, "data_class": class_of_model(call, ref)}
    return msgspec.structs.replace(unknown, attributes=attributes)
