"""With no gateway running, a deployment is tried as a gateway would: what it would refuse is refused here."""

from __future__ import annotations

from typing import Any

import models
import msgspec
import pytest

from casemate.app.rollouts import TrialRollout
from casemate.core import Signature, TensorSpec, VerificationError
from casemate.registry import Deployment
from casemate.signing import VerifiedModel


class Recorded:
    """One deployment of one model."""

    def __init__(self, model: VerifiedModel) -> None:
        self.model = model

    def load(self, name: str) -> tuple[Any, VerifiedModel]:
        about = self.model.about
        found = {"environment": "dev", "profile": "standard", "number": 1, "since": "", "paused": False}
        return msgspec.convert({"name": name, "project": "default", "model": about, **found}, Deployment), self.model


def tried(model: VerifiedModel) -> None:
    TrialRollout(Recorded(model), insecure=False).converge("live", 1)  # type: ignore[arg-type]


def test_what_serves_is_passed(signer: models.Signer) -> None:
    tried(signer.verified({"model.onnx": models.constant_onnx(1)}))


def test_what_no_runtime_loads_is_refused(signer: models.Signer) -> None:
    with pytest.raises(VerificationError) as refused:
        tried(signer.verified({"model.safetensors": b"x"}, served=None))
    assert refused.value.code == "model-format"


def test_what_gives_other_tensors_than_were_signed_is_refused(signer: models.Signer) -> None:
    other = Signature(inputs=(TensorSpec(name="other", datatype="FP32", shape=(-1, 1)),), outputs=(), runtime="onnx")
    with pytest.raises(VerificationError) as refused:
        tried(signer.verified({"model.onnx": models.constant_onnx(1)}, signature=other))
    assert refused.value.code == "signature-mismatch"
