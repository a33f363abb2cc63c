"""Whatever the order of deploys, rollbacks, pauses and failed rollouts: the ledger folds to what really serves."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from casemate.core import AssetKind, Environment, Profile, digest_of
from casemate.registry import DeploymentRecord, deployments_of
from casemate.registry.deployments_state import Change
from casemate.registry.features import with_ranges
from casemate.registry.stores import Stores
from casemate.signing import VersionIdentity
from casemate.storage import LedgerEntry

FIRST = digest_of(b"")
steps = st.lists(
    st.tuples(st.sampled_from(["deploy", "rollback", "pause", "resume"]), st.integers(1, 3), st.booleans()),
    max_size=25,
)


class State:
    """Ledger entries in memory; the real ledger's checks are tested with the ledger."""

    def __init__(self) -> None:
        self.written: list[LedgerEntry] = []

    def entries(self, after: int = 0) -> list[LedgerEntry]:
        return self.written[after:]

    def write(self, record: DeploymentRecord) -> int:
        number = len(self.written) + 1
        body = msgspec.json.decode(msgspec.json.encode(record))
        entry = LedgerEntry(
            number=number, at=str(number), kind="deployment", body=body, previous=FIRST, digest=FIRST, intent="e"
        )
        self.written.append(entry)
        return number


class Clock:
    def now(self) -> datetime:
        return datetime(2026, 11, 24, tzinfo=UTC)


def version(number: int) -> VersionIdentity:
    return VersionIdentity(
        project="default", kind=AssetKind.MODEL, name="m", number=number, digest=digest_of(bytes([number]))
    )


def record(model: VersionIdentity, change: Change, *, paused: bool = False, undoes: int = 0) -> DeploymentRecord:
    return DeploymentRecord(
        name="live",
        project="default",
        environment=Environment.DEV,
        profile=Profile.STANDARD,
        model=model,
        paused=paused,
        change=change,
        by="usr",
        undoes=undoes,
    )


@given(steps)
def test_the_fold_is_a_stack_of_distinct_versions(steps):
    state = State()
    stores = Stores(engine=None, blobs=None, state=state, clock=Clock(), cipher=None, approvers=None)
    stack: list[int] = []  # what serves is last
    paused = False
    for what, number, fails in steps:
        before = (list(stack), paused)
        if what == "deploy":
            stack = stack if stack and stack[-1] == number else [*stack, number]
            written, paused = record(version(number), Change.DEPLOYED), False
        elif what == "rollback":
            if len(stack) < 2:
                continue
            stack, paused = stack[:-1], False
            written = record(version(stack[-1]), Change.ROLLED_BACK)
        else:
            if not stack:
                continue
            paused = what == "pause"
            change = Change.PAUSED if paused else Change.RESUMED
            written = record(version(stack[-1]), change, paused=paused)
        at = state.write(written)
        if fails:
            state.write(msgspec.structs.replace(written, change=Change.RESTORED, undoes=at))
            stack, paused = before
        found = deployments_of(stores).get("live")
        anew = Stores(engine=None, blobs=None, state=state, clock=Clock(), cipher=None, approvers=None)
        assert deployments_of(anew).get("live") == found  # however often it was folded on the way
        if not stack:
            assert found is None
            continue
        assert found is not None
        assert [*(v.number for v in reversed(found.earlier)), found.model.number] == stack
        assert found.paused == paused
        assert found.number == len(state.written)


numbers = st.none() | st.floats(allow_nan=True) | st.integers(-5, 5) | st.text(max_size=3)
column = st.fixed_dictionaries(
    {"name": st.text(max_size=5), "role": st.sampled_from(["feature", "target", None]), "min": numbers, "max": numbers}
)


@given(st.lists(column, max_size=5), st.integers(-1, 5))
def test_ranges_run_along_the_features_or_are_not_stated(columns, width):
    from casemate.core import Signature, TensorSpec

    spec = TensorSpec(name="X", datatype="FP32", shape=(-1, width))
    found = with_ranges(Signature(inputs=(spec,), outputs=(), runtime="onnx"), {"columns": columns}).inputs[0]
    features = [c["name"] for c in columns if c["role"] == "feature"]
    if len(features) == width and features:
        assert list(found.features) == features
        assert (len(found.low), len(found.high)) in {(0, 0), (width, width)}
    else:
        assert found == spec
