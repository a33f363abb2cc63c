"""Who may do what: principals, keys, grants, policies, and the gate through which every action goes."""

from casemate.iam.access import Access, Snapshot, Standing, local_owner
from casemate.iam.authorizer import Authorizer, forbidden
from casemate.iam.credentials import (
    IssuedKey,
    KeyInfo,
    KeyRequest,
    is_well_formed,
    issue_key,
    key_request,
    list_keys,
    revocation_resource,
    revoke_key,
)
from casemate.iam.gate import Entry, Gate
from casemate.iam.policy import SHIPPED as SHIPPED_POLICIES
from casemate.iam.policy import Decision, Policies
from casemate.iam.reconcile import reconcile
from casemate.iam.records import Credential, Grant, PrincipalCreated, Revoked
from casemate.iam.scope import Scope, parse_scope

__all__ = [
    "SHIPPED_POLICIES",
    "Access",
    "Authorizer",
    "Credential",
    "Decision",
    "Entry",
    "Gate",
    "Grant",
    "IssuedKey",
    "KeyInfo",
    "KeyRequest",
    "Policies",
    "PrincipalCreated",
    "Revoked",
    "Scope",
    "Snapshot",
    "Standing",
    "forbidden",
    "is_well_formed",
    "issue_key",
    "key_request",
    "list_keys",
    "local_owner",
    "parse_scope",
    "reconcile",
    "revocation_resource",
    "revoke_key",
]
