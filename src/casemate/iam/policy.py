"""Cedar policies: loaded from files that a person can read, checked against the schema, asked about one decision.

What no policy permits is refused. A policy that cannot be evaluated refuses too: Cedar itself would skip it, and a
skipped `forbid` would allow. A home may have policies of its own beside the packaged ones (ADR 18).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import copy
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import cedarpy
import msgspec

from casemate.core import Action, Digest, Environment, InputError, Principal, PrincipalKind, Resource, Role, digest_of
from casemate.iam.conditions import ADDRESS, MIDWEEK, TIMES, Conditions, Value, conditions_of, kept_conditions
from casemate.iam.policy_records import NO_POLICY, HomePolicy
from casemate.iam.policy_walls import PACKAGED_ALONE, UNREADABLE, check_text, place_of

SHIPPED = Path(__file__).parent / "policies"  # copied into a home when it is made
_SCHEMA = SHIPPED / "casemate.cedarschema"
MAX_POLICY_BYTES = 1 << 20  # 1 MiB for all files together
_ENTITY_SETS = 1024  # parsed (principal, roles, resource) kept; ~2 KB each

_PRINCIPAL_TYPES = {PrincipalKind.USER: "User", PrincipalKind.SERVICE: "Service"}
_RESOURCE_TYPES = {"user": "Person"}  # as what is acted on; who acts is a User, and both can be in one question
_LEAST_FIRST = (Role.CALLER, Role.AUDITOR, Role.APPROVER, Role.OPERATOR, Role.DATA_SCIENTIST, Role.OWNER)

_SOMEBODY = Principal(id="svc_example", kind=PrincipalKind.SERVICE, name="example")

_Uid = tuple[tuple[str, str], tuple[str, str]]  # hashable {"type": ..., "id": ...}


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """May it happen, and why. Args: policies: ids of those that decided. self_approved: allowed in `dev` alone."""

    allowed: bool
    policies: tuple[str, ...] = ()
    reason: str = ""
    roles: tuple[str, ...] = ()
    next_step: str = ""
    self_approved: bool = False
    step_up: bool = False  # refused only for want of a fresh second factor
    policy: str = ""  # the digest of all the policies in force
    stated: Mapping[str, Value] = {}  # the conditions that it was made on, as `kept_conditions` keeps them

    @property
    def ci(self) -> bool:
        """Whether it was asked for a CI job's token."""
        return self.stated.get("ci") is True


class _Loaded(msgspec.Struct, frozen=True, kw_only=True):
    policies: cedarpy.PolicySet
    digest: Digest
    text: str
    next_steps: dict[str, str] = {}  # by a policy's @id: its @next
    looks_at: frozenset[str] = frozenset()  # facts named anywhere in them
    able: dict[Action, tuple[Role, ...]]  # filled when a refusal first asks


class Policies:
    """The policies in effect. Args: folder: its `*.cedar` files are read in order of name.

    Raises: InputError: policy-missing, policy-invalid, policy-too-large.
    """

    def __init__(self, folder: Path = SHIPPED) -> None:
        self._schema = cedarpy.Schema.from_str(_SCHEMA.read_text())
        self.current = self._packaged = _load(folder, self._schema)
        self.home = NO_POLICY
        self.misfit = ""  # why the home's own cannot be used by this release

    def with_home(self, home: HomePolicy) -> Policies:
        """These and a home's own. Where its own do not fit this release, only what the packaged ones decide alone is allowed."""
        found = copy(self)
        found.home, found.misfit, found.current = home, "", self._packaged
        if home.text:
            try:
                check_text(home.text)
                found.current = _loaded("The home's own policies", self._packaged.text + "\n" + home.text, self._schema)
            except InputError as error:
                found.misfit = error.message
        return found

    def check(self, text: str) -> Policies:
        """As `with_home`, of a text that is not in force. Raises: InputError, naming the policy and what is wrong."""
        check_text(text)
        found = copy(self)
        found.home = HomePolicy(text=text, digest=digest_of(text.encode()))
        found.current = _loaded("These policies", self._packaged.text + "\n" + text, self._schema, offset=self._count())
        found.misfit = ""
        return found

    def _count(self) -> int:
        return len(self._packaged.policies.to_pst().static_policies)

    def looks_at(self, *facts: str) -> bool:
        """Whether any policy in force names one of these facts."""
        return not self.current.looks_at.isdisjoint(facts)

    @property
    def digest(self) -> Digest:
        """Names exactly these policies: for the signed record of what was in force."""
        return self.current.digest

    @property
    def text(self) -> str:
        return self.current.text

    def comment(self, policy: str) -> str:
        """What the file says above the policy with this @id, in one line; empty if it says nothing."""
        lines = self.text.splitlines()
        at = next((n for n, line in enumerate(lines) if line.strip() == f'@id("{policy}")'), 0)
        start = at
        while start and lines[start - 1].startswith("//"):
            start -= 1
        return " ".join(line.strip("/ ") for line in lines[start:at])

    def decide(
        self,
        principal: Principal,
        action: Action,
        resource: Resource,
        *,
        roles: frozenset[Role],
        context: Mapping[str, Value] | None = None,
        because: str = "",
        at: datetime = MIDWEEK,
    ) -> Decision:
        """Ask Cedar once, without a cache. Never raises: what cannot be decided is refused.

        Args: roles: those in effect now for this resource. context: facts beside the resource's own attributes.
            because: why there are no roles, for the refusal. at: the instant that conditions on time are about.
        """
        attributes = {name: value for name, value in resource.attributes.items() if name != ADDRESS}
        conditions = conditions_of(principal, resource, {**attributes, **(context or {})}, at)
        return self.decide_again(principal, action, resource, roles=roles, conditions=conditions, because=because)

    def decide_again(
        self,
        principal: Principal,
        action: Action,
        resource: Resource,
        *,
        roles: frozenset[Role],
        conditions: Conditions,
        because: str = "",
    ) -> Decision:
        """As `decide`, on conditions that were made before."""
        shown = tuple(sorted(roles))
        decision = self._decide(principal, action, resource, shown=shown, conditions=conditions, because=because)
        return msgspec.structs.replace(decision, policy=self.digest, stated=kept_conditions(conditions))

    def _decide(
        self,
        principal: Principal,
        action: Action,
        resource: Resource,
        *,
        shown: tuple[str, ...],
        conditions: Conditions,
        because: str,
    ) -> Decision:
        if self.misfit and action not in PACKAGED_ALONE:
            reason = f"the home's own policies, version {self.home.version}, do not fit this release ({self.misfit})"
            step = "Let the home's owner return to the packaged ones: casemate policy revert --packaged."
            return Decision(allowed=False, roles=shown, reason=reason, next_step=step)
        try:
            answer = self._ask(principal, action, resource, shown, conditions)
        except ValueError as error:
            return Decision(
                allowed=False, roles=shown, reason=f"the question cannot be asked of the policies ({error})"
            )
        found = answer.diagnostics
        if found.errors:
            return Decision(allowed=False, roles=shown, reason=f"a policy failed ({found.errors[0][:200]})")
        names = tuple(sorted(found.id_annotations_by_reason.values()))
        if answer.allowed:
            approved_alone = action in (Action.MODEL_APPROVE, Action.DATASET_JUDGE) and bool(
                conditions["self_approval"]
            )
            why = f"allowed by {', '.join(names)}"
            return Decision(allowed=True, policies=names, reason=why, roles=shown, self_approved=approved_alone)
        return Decision(
            allowed=False,
            policies=names,
            roles=shown,
            reason=_why_not(action, resource, names, shown, because),
            next_step=self._instead(names) if names else self._next_step(action, resource),
        )

    def _ask(
        self,
        principal: Principal,
        action: Action,
        resource: Resource,
        roles: tuple[str, ...],
        conditions: Conditions,
    ) -> cedarpy.AuthzResult:
        """The home's own count only for whom a credential stands behind that counts now."""
        own = conditions["authenticated"] and action not in PACKAGED_ALONE
        weighed = self.current if own or not self.home.text else self._packaged
        request = {
            "principal": dict(_uid(principal)),
            "action": {"type": "Action", "id": action.value},
            "resource": dict(_uid(resource)),
            "context": conditions,
        }
        entities = _entities(_uid(principal), roles, _uid(resource), resource.project)
        return cedarpy.is_authorized(request, weighed.policies, entities, self._schema)

    def roles_for(self, action: Action) -> tuple[Role, ...]:
        """The roles that may do `action` when nothing else stands against it, the least powerful first."""
        known = self.current.able
        if action not in known:
            known[action] = tuple(role for role in _LEAST_FIRST if self._permits(role, action))
        return known[action]

    def _permits(self, role: Role, action: Action) -> bool:
        attributes: dict[str, Value] = {
            "pushed_by": "somebody-else",
            "holder": "somebody-else",
            "reviewed": "somebody-else",
            "profile": "standard",
            "role": Role.CALLER.value,
            "fresh": True,
            "local": True,
            "authenticated": True,
            "data_class": "internal",
            "lowers_class": False,
            "purpose_allowed": True,
            "card_complete": True,
            "evaluated": True,
        }
        kind = action.partition(":")[0]
        resource = Resource(kind=kind, name="example", environment=Environment.DEV, attributes=attributes)
        conditions = conditions_of(_SOMEBODY, resource, attributes, MIDWEEK)
        return self._ask(_SOMEBODY, action, resource, (role,), conditions).allowed

    def _instead(self, names: tuple[str, ...]) -> str:
        """What the policies that forbade it say can be done."""
        return " ".join(step for name in names if (step := self.current.next_steps.get(name)))

    def _next_step(self, action: Action, resource: Resource) -> str:
        if action is Action.KEY_ISSUE:
            return "Or ask an owner to issue it."
        able = self.roles_for(action)
        if not able:
            return "No role may do this by the policies in force (casemate policy show): an owner proposes others, casemate policy propose."
        only = f" --deployment {resource.name}" if resource.kind == "deployment" and resource.name else ""
        return f"Ask an owner for a key that may: casemate key issue NAME --role {able[0]}{only}"


def _why_not(action: Action, resource: Resource, names: tuple[str, ...], roles: tuple[str, ...], because: str) -> str:
    if names:
        return f"{action} on {resource} is forbidden by the policy {', '.join(names)}"
    if action is Action.KEY_ISSUE and roles:
        wanted = resource.attributes.get("role", "")
        return f"no policy lets {' or '.join(roles)} issue a key with the role {wanted}"
    if action is Action.KEY_ISSUE and because:
        return because
    if roles:
        return f"no policy lets {' or '.join(roles)} do {action} on {resource}"
    return f"no policy allows {action} on {resource} without a role: {because or 'none was granted'}"


def _uid(thing: Principal | Resource) -> _Uid:
    if isinstance(thing, Principal):
        return (("type", _PRINCIPAL_TYPES[thing.kind]), ("id", thing.id))
    return (("type", _RESOURCE_TYPES.get(thing.kind, thing.kind.capitalize())), ("id", thing.name))


@lru_cache(maxsize=_ENTITY_SETS)
def _entities(principal: _Uid, roles: tuple[str, ...], resource: _Uid, project: str) -> cedarpy.Entities:
    rows = [
        {"uid": dict(principal), "attrs": {}, "parents": [{"type": "Role", "id": role} for role in roles]},
        {"uid": dict(resource), "attrs": {}, "parents": [{"type": "Project", "id": project}]},
    ]
    return cedarpy.Entities.from_json_str(json.dumps(rows))


def _load(folder: Path, schema: cedarpy.Schema) -> _Loaded:
    files = sorted(folder.glob("*.cedar"))
    if not files:
        raise InputError(f"{folder} holds no *.cedar file: copy policies/default.cedar there.", code="policy-missing")
    if sum(file.stat().st_size for file in files) > MAX_POLICY_BYTES:
        raise InputError(f"The policies in {folder} are over {MAX_POLICY_BYTES} bytes.", code="policy-too-large")
    try:
        text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    except ValueError as error:
        raise _invalid(f"The policies in {folder}", str(error)) from error
    return _loaded(f"The policies in {folder}", text, schema)


def _loaded(what: str, text: str, schema: cedarpy.Schema, *, offset: int = 0) -> _Loaded:
    """Args: offset: how many policies stand before those that `what` names. Raises: InputError (policy-invalid)."""
    try:
        policies = cedarpy.PolicySet.from_str(text)
        plain: dict[str, Any] = json.loads(cedarpy.policies_to_json_str(text))
        next_steps = _check_ids(what, policies)
    except UNREADABLE as error:
        raise _invalid(what, place_of(text, error) if not offset else str(error)) from error
    result = cedarpy.validate_policies(text, schema)
    if not result.validation_passed:
        raise _invalid(what, "; ".join(_said(policies, problem) for problem in result.errors[:3]) or "it is not valid")
    return _Loaded(
        policies=policies,
        digest=digest_of(text.encode()),
        text=text,
        next_steps=next_steps,
        looks_at=_named_in(plain),
        able={},
    )


def _named_in(plain: dict[str, Any]) -> frozenset[str]:
    """The facts about place and time that policies name, in whatever spelling: their plain form has one."""
    text = json.dumps([policy["conditions"] for policy in plain["staticPolicies"].values()])
    return frozenset(fact for fact in (ADDRESS, *TIMES) if f'"{fact}"' in text)


def _said(policies: cedarpy.PolicySet, problem: cedarpy.ValidationError) -> str:
    """What the schema has against a policy, under the name that its text gives it."""
    known = policies.to_pst().static_policies.get(problem.policy_id)
    name = str(known.annotations.get("id") or problem.policy_id) if known else problem.policy_id
    return f"the policy {name}: {problem.error.replace(f'for policy `{problem.policy_id}`, ', '')}"


def _check_ids(what: str, policies: cedarpy.PolicySet) -> dict[str, str]:
    """Each policy has an id of its own, so that a decision can name it; templates would never take effect.

    Returns: what each says can be done where it forbids, by its id.
    """
    if policies.templates():
        raise _invalid(what, "a policy has a ?principal or ?resource slot, which nothing here fills")
    annotations = [policy.annotations for policy in policies.to_pst().static_policies.values()]
    ids = [noted.get("id") or "" for noted in annotations]
    if not all(ids):
        raise _invalid(what, 'every policy needs an @id("...") of its own')
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        raise _invalid(what, f'every policy needs an @id("...") of its own, and {twice[0][:80]} is there twice')
    return {str(noted.get("id")): str(noted.get("next") or "") for noted in annotations}


def _invalid(what: str, why: str) -> InputError:
    return InputError(f"{what} cannot be used: {why[:500]}.", code="policy-invalid")
