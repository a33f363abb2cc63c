"""Key-encryption keys: which there are, rotation, retirement."""

from typing import Annotated, Any

import msgspec
from fastapi import Query

from casemate.console.callers import Call, Caller
from casemate.console.door import Door
from casemate.console.places import Long
from casemate.core import Action, InputError, Resource
from casemate.keys import SIGNERS


def declare(door: Door) -> None:
    """The routes under /keyring."""

    @door.read("/keyring", Action.KEYS_READ)
    def keyring(call: Caller) -> dict[str, Any]:
        """The key-encryption keys by number, how many data keys each wraps, and who holds the signing key."""
        return {**call.services.data_keys.show(), "signing": call.services.signing.show()}

    @door.change("POST", "/keyring/rotation", Action.KEYS_ROTATE, long=Long.BYTES)
    def rotate(call: Caller) -> dict[str, Any]:
        """Wrap every data key under a new key-encryption key, or finish what was cut short; answers at the end."""
        answer: dict[str, Any] = msgspec.to_builtins(call.services.data_keys.rotate())
        return answer

    @door.change("POST", "/keyring/retirement", Action.KEYS_ROTATE, about=_retirement, long=Long.BYTES)
    def retire(call: Caller) -> dict[str, Any]:
        """Refuse, for good, what any but the newest key-encryption key wrapped."""
        answer: dict[str, Any] = msgspec.to_builtins(call.services.data_keys.retire())
        return answer

    @door.change("POST", "/keyring/signing", Action.KEYS_MOVE, about=_moved, long=Long.BYTES)
    def move_signing(
        call: Caller, provider: str, setting: Annotated[list[str] | None, Query()] = None
    ) -> dict[str, Any]:
        """Sign with a new key in another provider from here on; the old key signs that it may."""
        return call.services.signing.move(provider, _settings(setting), call.intent)


def _moved(_: Call, arguments: dict[str, Any]) -> Resource:
    """What the log says of it: the provider, by name, and which settings were given."""
    provider, settings = arguments["provider"], _settings(arguments["setting"])
    if provider not in SIGNERS:
        raise InputError(
            f"No key provider {provider[:40]!r} signs: use {' or '.join(SIGNERS)}.", code="bad-key-settings"
        )
    return Resource("keys", attributes={"provider": provider, "settings": " ".join(sorted(settings))[:200]})


def _settings(given: list[str] | None) -> dict[str, str]:
    settings = {}
    for one in given or []:
        name, equals, value = one.partition("=")
        if not equals:
            raise InputError("A setting is written NAME=VALUE.", code="bad-key-settings")
        settings[name] = value
    return settings


def _retirement(_: Call, __: dict[str, Any]) -> Resource:
    """What the log says beside the action, which is that of a rotation."""
    return Resource("keys", attributes={"retire": True})
