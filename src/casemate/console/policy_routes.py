"""Policies: those in force, and the home's own: proposed, tried on the record, approved, reverted."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import Query

from casemate.auditlog import signed_since
from casemate.console.asset_routes import Body, plain
from casemate.console.callers import Call, Caller
from casemate.console.door import Also, Door
from casemate.console.places import Long
from casemate.core import Action, InputError, Resource, rfc3339
from casemate.iam import (
    MAX_POLICY_TEXT,
    HomePolicy,
    LedgerItem,
    answer_policy_resource,
    approve_policy,
    deny_policy,
    describe_proposal,
    difference,
    find_policy_text,
    find_policy_version,
    list_policies,
    propose_policy,
    replay,
    return_to_packaged,
    stated_reason,
    withdraw_policy,
)

_DAYS = 90  # that a replay reads at most


def declare(door: Door) -> None:
    """The routes under /policies."""
    _declare_reading(door)
    _declare_proposing(door)
    _declare_answers(door)


def _declare_reading(door: Door) -> None:
    @door.read("/policies", Action.POLICY_READ)
    def policies(call: Caller) -> dict[str, Any]:
        """The policies in force: the packaged ones, and the home's own after them."""
        found = call.services.authorizer.policies
        home = {"version": found.home.version, "digest": found.home.digest, "text": found.home.text}
        return {"digest": found.digest, "text": found.text, "home": home, "misfit": found.misfit}

    @door.read("/policies/versions", Action.POLICY_READ)
    def versions(call: Caller) -> dict[str, Any]:
        """Every proposal with what became of it, and every return to the packaged policies."""
        services = call.services
        return plain({"items": list(list_policies(services.access, now=services.clock.now())), "next": None})

    @door.read("/policies/versions/{which}", Action.POLICY_READ)
    def shown(call: Caller, which: str) -> dict[str, Any]:
        """The home's own policies: a version by its number, or a proposal by its id, and how it differs from what is in force."""
        access = call.services.access
        found = find_policy_text(access, which)
        in_force = access.snapshot.policy.in_force
        about = access.snapshot.policy.proposals.get(which)
        info = plain(describe_proposal(access, about, now=call.services.clock.now())) if about else {}
        return {
            **info,
            "version": info.get("version") if about else found.version,
            "digest": found.digest,
            "in_force": in_force.version,
            "text": found.text,
            "difference": difference(in_force, found),
        }


def _declare_proposing(door: Door) -> None:
    on_record = Also(action=Action.AUDIT_READ, about=lambda *_: Resource("audit"))

    @door.change("POST", "/policies/proposals", Action.POLICY_PROPOSE, about=_proposed)
    def propose(call: Caller, body: Body, version: Annotated[int | None, Query(ge=0)] = None) -> dict[str, Any]:
        """Propose the body as the home's own policies, or an earlier version of them. Gives nothing until approved."""
        services, made = call.services, []
        text = find_policy_version(services.access, version).text if version is not None else _text(body)

        def make() -> list[LedgerItem]:
            policy_id, entries = propose_policy(
                services.access,
                services.policies,
                text,
                by=call.principal,
                reason=stated_reason(call.reason),
                now=services.clock.now(),
            )
            made.append(policy_id)
            return entries

        services.settle(make, call.intent)
        return _shown(call, made[0])

    @door.change("POST", "/policies/replay", Action.POLICY_PROPOSE, also=on_record, long=Long.BYTES)
    def dry_run(
        call: Caller,
        body: Body,
        version: Annotated[int | None, Query(ge=0)] = None,
        days: Annotated[int, Query(ge=1, le=_DAYS)] = 30,
    ) -> dict[str, Any]:
        """Which decisions of the last days the body, as the home's own policies, would have made otherwise."""
        services = call.services
        proposed = HomePolicy() if version is None else find_policy_version(services.access, version)
        text = _text(body) if version is None else proposed.text
        now = services.clock.now()
        since = rfc3339(now - timedelta(days=days))
        found = replay(
            signed_since(services.log, since),
            in_force=services.authorizer.policies,
            proposed=services.policies.check(text),
            since=since,
            until=rfc3339(now),
        )
        return plain(found)


def _declare_answers(door: Door) -> None:
    @door.change("POST", "/policies/proposals/{proposal}/approval", Action.POLICY_APPROVE, about=_answered)
    def approve(call: Caller, proposal: str) -> dict[str, Any]:
        """Put a proposal in force, everywhere within a second."""
        entries = partial(approve_policy, call.services.access, call.services.policies, proposal)
        return _decided(call, proposal, entries)

    @door.change("POST", "/policies/proposals/{proposal}/denial", Action.POLICY_APPROVE, about=_answered)
    def deny(call: Caller, proposal: str) -> dict[str, Any]:
        """Say no to a proposal."""
        return _decided(call, proposal, partial(deny_policy, call.services.access, proposal))

    @door.change("DELETE", "/policies/proposals/{proposal}", Action.POLICY_PROPOSE, about=_withdrawn)
    def withdraw(call: Caller, proposal: str) -> dict[str, Any]:
        """Take back a proposal of your own."""
        return _decided(call, proposal, partial(withdraw_policy, call.services.access, proposal))

    @door.change("POST", "/policies/packaged", Action.POLICY_REVERT, about=_reasoned)
    def revert(call: Caller) -> dict[str, Any]:
        """End the home's own policies now: the packaged ones alone count."""
        services, reason = call.services, stated_reason(call.reason)

        def make() -> list[LedgerItem]:
            return return_to_packaged(services.access, by=call.principal, reason=reason, now=services.clock.now())

        services.settle(make, call.intent)
        return {"version": services.access.snapshot.policy.in_force.version, "text": ""}


def _decided(call: Call, proposal: str, entries: Callable[..., list[LedgerItem]]) -> dict[str, Any]:
    """Commit what `entries` says of this proposal on the newest state."""
    services, reason = call.services, stated_reason(call.reason)
    services.settle(lambda: entries(by=call.principal, reason=reason, now=services.clock.now()), call.intent)
    return _shown(call, proposal)


def _shown(call: Call, proposal: str) -> dict[str, Any]:
    services = call.services
    known = services.access.snapshot.policy.proposals[proposal]
    return plain(describe_proposal(services.access, known, now=services.clock.now()))


def _text(body: Any) -> str:
    whole = body.whole(MAX_POLICY_TEXT)
    if len(whole) > MAX_POLICY_TEXT:
        raise InputError(f"A home's own policies have at most {MAX_POLICY_TEXT} bytes.", code="policy-too-large")
    try:
        return str(whole, "utf-8")
    except UnicodeDecodeError as error:
        raise InputError("The policies are not UTF-8.", code="policy-invalid") from error


def _reasoned(call: Call, _: dict[str, Any]) -> Resource:
    stated_reason(call.reason)
    return Resource("policy")


def _proposed(call: Call, arguments: dict[str, Any]) -> Resource:
    stated_reason(call.reason)
    del arguments
    return Resource("policy", attributes={"holder": call.principal.id})


def _withdrawn(call: Call, arguments: dict[str, Any]) -> Resource:
    stated_reason(call.reason)
    return Resource("policy", arguments["proposal"][:80], attributes={"holder": call.principal.id})


def _answered(call: Call, arguments: dict[str, Any]) -> Resource:
    stated_reason(call.reason)
    return answer_policy_resource(call.services.access, arguments["proposal"])
