"""Policy files: read whole and checked, or refused."""

import shutil
from pathlib import Path

import cedarpy
import pytest
from iam_house import OWNER

from casemate.core import Action, InputError, Resource, Role
from casemate.iam import SHIPPED_POLICIES, Policies

LOCKED = '@id("nobody-deletes") forbid (principal, action == Action::"model:delete", resource);'
MODEL = Resource("model", "spam")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(SHIPPED_POLICIES / "default.cedar", tmp_path)
    return tmp_path


def deletes(policies: Policies) -> bool:
    return policies.decide(OWNER, Action.MODEL_DELETE, MODEL, roles=frozenset({Role.OWNER})).allowed


def test_a_further_file_is_read_after_the_others(folder: Path) -> None:
    before = Policies(folder)
    assert deletes(before)
    (folder / "ours.cedar").write_text(LOCKED)
    after = Policies(folder)
    assert not deletes(after)
    assert after.digest != before.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("permit (principal, action, resource", "unexpected"),
        ('permit (principal, action == Action::"model:read", resource);', "@id"),
        ('@id("") permit (principal, action == Action::"model:read", resource);', "@id"),
        ('@id("owner") permit (principal, action == Action::"model:read", resource);', "@id"),
        ('@id("x") permit (principal, action == Action::"model:explode", resource);', "model:explode"),
        ('@id("x") permit (principal in Group::"all", action == Action::"model:read", resource);', "Group"),
        ('@id("x") forbid (principal, action, resource) when { context.weekday == "sunday" };', "Long and String"),
        ('@id("x") permit (principal == ?principal, action, resource);', "?principal"),
    ],
)
def test_a_policy_that_is_not_valid_is_refused(folder: Path, text: str, said: str) -> None:
    (folder / "ours.cedar").write_text(text)
    with pytest.raises(InputError) as caught:
        Policies(folder)
    assert caught.value.code == "policy-invalid"
    assert said in caught.value.message


def test_policies_that_are_not_text_are_refused(folder: Path) -> None:
    (folder / "ours.cedar").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError) as caught:
        Policies(folder)
    assert caught.value.code == "policy-invalid"


def test_a_folder_without_policies_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Policies(tmp_path)
    assert caught.value.code == "policy-missing"


def test_too_much_policy_is_refused(folder: Path) -> None:
    (folder / "ours.cedar").write_text("//" + "x" * (1 << 20))
    with pytest.raises(InputError) as caught:
        Policies(folder)
    assert caught.value.code == "policy-too-large"


def test_a_forbid_that_cannot_be_evaluated_refuses() -> None:
    """Cedar skips a policy that fails; the validator would stop this one, so it is put behind the validator's back."""
    policies = Policies()
    failing = '@id("x") forbid (principal, action, resource) when { principal.missing == 1 };'
    policies.current = type(policies.current)(
        policies=cedarpy.PolicySet.from_str(policies.text + failing), digest=policies.digest, text="", able={}
    )
    decision = policies.decide(OWNER, Action.MODEL_READ, MODEL, roles=frozenset({Role.OWNER}))
    assert not decision.allowed
    assert decision.reason.startswith("a policy failed")


@pytest.mark.parametrize("name", ['x"', "\\", "\n", "\x00", "\ud800", "a" * 10_000, '"}, {"uid":'])
def test_strange_names_reach_no_other_resource(name: str) -> None:
    """Names are data for Cedar, never text of a policy: at worst the question is refused."""
    decision = Policies().decide(OWNER, Action.MODEL_READ, Resource("model", name), roles=frozenset())
    assert not decision.allowed
    assert decision.policies == ()
