"""Cedar policies: loaded from files that a person can read, checked against the schema, asked about one decision.

What no policy permits is refused. A policy that cannot be evaluated refuses too: Cedar itself would skip it, and a
skipped `forbid` would allow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import cedarpy
import msgspec

from casemate.core import Action, Digest, Environment, InputError, Principal, PrincipalKind, Resource, Role, digest_of

SHIPPED = Path(__file__).parent / "policies"  # copied into a home when it is made
_SCHEMA = SHIPPED / "casemate.cedarschema"
MAX_POLICY_BYTES = 1 << 20  # 1 MiB for all files together
_ENTITY_SETS = 1024  # parsed (principal, roles, resource) kept; ~2 KB each

_PRINCIPAL_TYPES = {PrincipalKind.USER: "User", PrincipalKind.SERVICE: "Service"}
_LEAST_FIRST = (Role.CALLER, Role.AUDITOR, Role.APPROVER, Role.OPERATOR, Role.DATA_SCIENTIST, Role.OWNER)

_SOMEBODY = Principal(id="svc_example", kind=PrincipalKind.SERVICE, name="example")

Value = str | int | bool
_Uid = tuple[tuple[str, str], tuple[str, str]]  # hashable {"type": ..., "id": ...}


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """May it happen, and why. Args: policies: ids of those that decided. self_approved: allowed in `dev` alone."""

    allowed: bool
    policies: tuple[str, ...] = ()
    reason: str = ""
    roles: tuple[str, ...] = ()
    next_step: str = ""
    self_approved: bool = False


class _Loaded(msgspec.Struct, frozen=True, kw_only=True):
    policies: cedarpy.PolicySet
    digest: Digest
    text: str
    able: dict[Action, tuple[Role, ...]]  # filled when a refusal first asks


class Policies:
    """The policies in effect. Args: folder: its `*.cedar` files are read in order of name.

    Raises: InputError: policy-missing, policy-invalid, policy-too-large.
    """

    def __init__(self, folder: Path = SHIPPED) -> None:
        self._folder = folder
        self._schema = cedarpy.Schema.from_str(_SCHEMA.read_text())
        self.current = _load(folder, self._schema)

    def reload(self) -> bool:
        """Read the files again; True if they changed. Bad files raise InputError and leave the old policies."""
        loaded = _load(self._folder, self._schema)
        if loaded.digest == self.current.digest:
            return False
        self.current = loaded
        return True

    @property
    def digest(self) -> Digest:
        """Names exactly these policies: for the signed record of what was in force."""
        return self.current.digest

    @property
    def text(self) -> str:
        return self.current.text

    def decide(
        self,
        principal: Principal,
        action: Action,
        resource: Resource,
        *,
        roles: frozenset[Role],
        context: Mapping[str, Value] | None = None,
        because: str = "",
    ) -> Decision:
        """Ask Cedar once, without a cache. Never raises: what cannot be decided is refused.

        Args: roles: those in effect now for this resource. context: facts beside the resource's own attributes.
            because: why there are no roles, for the refusal.
        """
        conditions = _conditions(principal, resource, {**resource.attributes, **(context or {})})
        shown = tuple(sorted(roles))
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
            approved_alone = action is Action.MODEL_APPROVE and bool(conditions["self_approval"])
            why = f"allowed by {', '.join(names)}"
            return Decision(allowed=True, policies=names, reason=why, roles=shown, self_approved=approved_alone)
        return Decision(
            allowed=False,
            policies=names,
            roles=shown,
            reason=_why_not(action, resource, names, shown, because),
            next_step="" if names else self._next_step(action, resource),
        )

    def _ask(
        self,
        principal: Principal,
        action: Action,
        resource: Resource,
        roles: tuple[str, ...],
        conditions: Mapping[str, Value],
    ) -> cedarpy.AuthzResult:
        request = {
            "principal": dict(_uid(principal)),
            "action": {"type": "Action", "id": action.value},
            "resource": dict(_uid(resource)),
            "context": conditions,
        }
        entities = _entities(_uid(principal), roles, _uid(resource), resource.project)
        return cedarpy.is_authorized(request, self.current.policies, entities, self._schema)

    def roles_for(self, action: Action) -> tuple[Role, ...]:
        """The roles that may do `action` when nothing else stands against it, the least powerful first."""
        known = self.current.able
        if action not in known:
            known[action] = tuple(role for role in _LEAST_FIRST if self._permits(role, action))
        return known[action]

    def _permits(self, role: Role, action: Action) -> bool:
        attributes: dict[str, Value] = {"pushed_by": "somebody-else", "profile": "standard", "role": Role.CALLER.value}
        kind = action.partition(":")[0]
        resource = Resource(kind=kind, name="example", environment=Environment.DEV, attributes=attributes)
        return self._ask(_SOMEBODY, action, resource, (role,), _conditions(_SOMEBODY, resource, attributes)).allowed

    def _next_step(self, action: Action, resource: Resource) -> str:
        able = self.roles_for(action)
        if not able:
            return "No role may do this: see the policy files."
        only = f" --deployment {resource.name}" if resource.kind == "deployment" and resource.name else ""
        return f"Ask an owner for a key that may: casemate key issue NAME --role {able[0]}{only}"


def _why_not(action: Action, resource: Resource, names: tuple[str, ...], roles: tuple[str, ...], because: str) -> str:
    if names:
        return f"{action} on {resource} is forbidden by the policy {', '.join(names)}"
    if roles:
        return f"no policy lets {' or '.join(roles)} do {action} on {resource}"
    return f"no policy allows {action} on {resource} without a role: {because or 'none was granted'}"


def _conditions(principal: Principal, resource: Resource, stated: Mapping[str, Value]) -> dict[str, Value]:
    """The facts that policies may use. What nobody stated is the cautious value, so forgetting one refuses."""
    return {
        "environment": str(resource.environment or ""),
        "profile": str(stated.get("profile", "")),
        "self_approval": stated.get("pushed_by", principal.id) == principal.id,
        "key_role": str(stated.get("role", "")),
    }


def _uid(thing: Principal | Resource) -> _Uid:
    if isinstance(thing, Principal):
        return (("type", _PRINCIPAL_TYPES[thing.kind]), ("id", thing.id))
    return (("type", thing.kind.capitalize()), ("id", thing.name))


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
        policies = cedarpy.PolicySet.from_str(text)
    except ValueError as error:
        raise _invalid(folder, str(error)) from error
    _check_ids(folder, policies)
    result = cedarpy.validate_policies(text, schema)
    if not result.validation_passed:
        raise _invalid(folder, "; ".join(str(problem) for problem in result.errors[:3]) or "it is not valid")
    return _Loaded(policies=policies, digest=digest_of(text.encode()), text=text, able={})


def _check_ids(folder: Path, policies: cedarpy.PolicySet) -> None:
    """Each policy has an id of its own, so that a decision can name it; templates would never take effect."""
    if policies.templates():
        raise _invalid(folder, "a policy has a ?principal or ?resource slot, which nothing here fills")
    ids = [policy.annotations.get("id") for policy in policies.to_pst().static_policies.values()]
    if not all(ids) or len(set(ids)) != len(ids):
        raise _invalid(folder, 'every policy needs an @id("...") of its own')


def _invalid(folder: Path, why: str) -> InputError:
    return InputError(f"The policies in {folder} cannot be used: {why[:500]}.", code="policy-invalid")
