"""The guards of a deployment are prepared once per version, and are never those of another one."""

from __future__ import annotations

from msgspec.structs import replace

from casemate.core import Digest, Profile, Signature, TensorSpec
from casemate.gateway.deployed import DeployedModels
from casemate.gateway.interface import ServedModel

SIGNATURE = Signature(
    runtime="onnx",
    inputs=(TensorSpec(name="x", datatype="FP64", shape=(-1, 2)),),
    outputs=(TensorSpec(name="y", datatype="FP64", shape=(-1,)),),
)
FIRST = ServedModel(
    name="spam",
    version=1,
    digest=Digest("sha256:" + "1" * 64),
    signature=SIGNATURE,
    profile=Profile.STANDARD,
    infer=None,  # type: ignore[arg-type] nothing is inferred here
)


class Source:
    served: ServedModel | None = FIRST

    def current(self, name: str) -> ServedModel | None:
        return self.served if name == "spam" else None

    def recorded(self, name: str) -> None:
        return None


def test_a_pause_is_seen_at_once_and_keeps_the_guards() -> None:
    source = Source()
    models = DeployedModels(source)
    before = models.current("spam")
    assert before is not None
    assert models.current("spam") is before
    source.served = replace(FIRST, paused=True)
    paused = models.current("spam")
    assert paused is not None
    assert paused.served is source.served
    assert (paused.slots, paused.reader) == (before.slots, before.reader)
    assert models.current("spam") is paused
    assert not before.served.paused


def test_another_version_or_profile_has_guards_of_its_own() -> None:
    source = Source()
    models = DeployedModels(source)
    before = models.current("spam")
    assert before is not None
    for change in ({"version": 2}, {"digest": Digest("sha256:" + "2" * 64)}, {"profile": Profile.STRICT}):
        source.served = replace(FIRST, **change)
        after = models.current("spam")
        assert after is not None
        assert after.served is source.served
        assert after.slots is not before.slots
        before = after


def test_what_is_gone_is_forgotten() -> None:
    source = Source()
    models = DeployedModels(source)
    before = models.current("spam")
    assert before is not None
    assert models.current("ham") is None
    source.served = None
    assert models.current("spam") is None
    source.served = FIRST
    after = models.current("spam")
    assert after is not None
    assert after.slots is not before.slots
