"""The facts that a policy may look at (`Conditions` in the schema), made for one question.

What nobody stated is the cautious value, so forgetting a fact refuses. Who asks states none of them: they come from the
credential, the connection, the clock and the signed record.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from casemate.core import Principal, Resource, data_class_of, parse_rfc3339

Value = str | int | bool
Conditions = dict[str, Any]

ADDRESS = "address"  # of the connection, beside the facts; empty, "local" or unreadable: none
ORIGIN = frozenset({ADDRESS, "network", "client"})  # facts of where a request came from
TIMES = frozenset({"now", "hour", "weekday"})
MIDWEEK = datetime(2026, 1, 7, 12, tzinfo=UTC)  # a Wednesday at noon: what is asked for no instant at all

_BINDING = "bnd_"  # ids of what proves a service beside an API key: a CI job's token may be behind it
_CLASSED = frozenset({"dataset", "model"})
_BROUGHT = {"grant": "holder", "policy": "holder", "review": "reviewed"}  # of other kinds: `pushed_by`


def conditions_of(principal: Principal, resource: Resource, stated: Mapping[str, Value], at: datetime) -> Conditions:
    """Every fact of the schema. Args: stated: the resource's attributes and what the authorizer found out."""
    brought_by = stated.get(_BROUGHT.get(resource.kind, "pushed_by"), principal.id)
    found: Conditions = {
        "environment": str(resource.environment or ""),
        "profile": str(stated.get("profile", "")),
        "self_approval": brought_by == principal.id,
        "key_role": str(stated.get("role", "")),
        "authenticated": stated.get("authenticated") is True,
        "own": stated.get("holder") == principal.id,
        "ci": bool(stated.get("ci", principal.credential.startswith(_BINDING))),
        "human_approved": stated.get("human_approved") is True,
        "fresh": stated.get("fresh") is True,
        "local": stated.get("local") is True,
        "data_class": data_class_of(stated.get("data_class")).value if _is_classed(resource, stated) else "",
        "lowers_class": stated.get("lowers_class") is not False,
        "purpose": str(stated.get("purpose", "")),
        "purpose_allowed": stated.get("purpose_allowed") is True,
        "card_complete": stated.get("card_complete") is True,
        "evaluated": stated.get("evaluated") is True,
        **_times(at.replace(microsecond=0)),
    }
    if address := plain_address(str(stated.get(ADDRESS, ""))):
        found[ADDRESS] = _extension("ip", address)
    return found


def _is_classed(resource: Resource, stated: Mapping[str, Value]) -> bool:
    """Whether there are data behind it: always of a dataset or model, of a deployment where its model was looked at."""
    return resource.kind in _CLASSED or (resource.kind == "deployment" and "data_class" in stated)


@lru_cache(maxsize=4096)
def plain_address(text: str) -> str:
    """An IP address, or a network that stands for one, as Cedar reads it; empty of anything else.

    An IPv4 address that came over an IPv6 socket is an IPv4 address; a zone is no part of one.
    """
    try:
        network = ipaddress.ip_network(text.partition("%")[0], strict=False)
    except ValueError:
        return ""
    first = network.network_address
    if isinstance(first, ipaddress.IPv6Address) and first.ipv4_mapped is not None:
        return str(first.ipv4_mapped) if network.prefixlen == first.max_prefixlen else ""
    return str(first) if network.prefixlen == first.max_prefixlen else str(network)


def next_second(at: datetime) -> datetime:
    """When the facts about time change next."""
    return at.replace(microsecond=0) + timedelta(seconds=1)


def kept_conditions(conditions: Mapping[str, Any]) -> dict[str, Value]:
    """What the record keeps of them, to ask the same question again: all but false, empty and the time."""
    found = {name: value for name, value in conditions.items() if name not in TIMES and value not in (False, "")}
    if ADDRESS in found:
        found[ADDRESS] = found[ADDRESS]["__extn"]["arg"]
    return found


def asked_again(kept: Mapping[str, Any], at: str) -> Conditions:
    """The conditions that `kept_conditions` kept of an event of `at`. Raises: ValueError: they are none."""
    texts = ("environment", "profile", "key_role", "data_class", "purpose")
    flags = (
        "self_approval", "authenticated", "own", "ci", "human_approved", "fresh", "local", "lowers_class",
        "purpose_allowed", "card_complete", "evaluated",
    )  # fmt: skip
    unknown = set(kept) - {*texts, *flags, ADDRESS}
    if unknown:
        raise ValueError(f"facts that this release does not know: {', '.join(sorted(unknown))[:80]}")
    found: Conditions = {name: str(kept.get(name, "")) for name in texts}
    found |= {name: kept.get(name) is True for name in flags}
    found |= _times(parse_rfc3339(at).replace(microsecond=0))
    if address := plain_address(str(kept.get(ADDRESS, ""))):
        found[ADDRESS] = _extension("ip", address)
    return found


@lru_cache(maxsize=64)
def _times(at: datetime) -> Conditions:
    at = at.astimezone(UTC)
    now = _extension("datetime", at.strftime("%Y-%m-%dT%H:%M:%SZ"))
    return {"now": now, "hour": at.hour, "weekday": at.isoweekday()}


def _extension(function: str, argument: str) -> dict[str, Any]:
    """A value of one of Cedar's extension types."""
    return {"__extn": {"fn": function, "arg": argument}}
