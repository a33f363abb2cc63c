"""Real models, signed and verified as in production."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import skops.io
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from casemate.core import AssetKind, ServedFile, Signature, canonical, digest_of, seal_bytes
from casemate.keys import Keeper, Purpose, init_keys
from casemate.signing import (
    Predicate,
    ReleaseSigner,
    SignedVersion,
    StoredModel,
    TrustPolicy,
    VerifiedModel,
    VersionIdentity,
    initial_trust,
    sign_files,
    sign_statement,
    verify_model,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Signer:
    """Signs versions with a real keeper's key and trusts it."""

    release: ReleaseSigner
    trust: TrustPolicy

    @classmethod
    def at(cls, folder: Path) -> Signer:
        init_keys(folder)
        keeper = Keeper(folder)
        pem = keeper.public_pem(Purpose.RELEASE)
        return cls(ReleaseSigner(keeper, pem), TrustPolicy.fold([initial_trust(pem)]))

    def verified(
        self,
        contents: Mapping[str, bytes],
        *,
        number: int = 1,
        signature: Signature | None = None,
        served: ServedFile | None = None,
    ) -> VerifiedModel:
        manifest: dict[str, Any] = {
            "schema": 1,
            "project": "default",
            "kind": "model",
            "name": "diagnosis",
            "files": {path: {"digest": digest_of(data), "size": len(data)} for path, data in contents.items()},
        }
        if signature is not None:
            manifest["signature"] = msgspec.to_builtins(signature)
        data = canonical(manifest)
        about = VersionIdentity(
            project="default", kind=AssetKind.MODEL, name="diagnosis", number=number, digest=digest_of(data)
        )
        bundle = sign_files("diagnosis", {p: digest_of(b) for p, b in contents.items()}, signer=self.release)
        scan = {"verdict": "clean", "served": msgspec.to_builtins(served or served_of(contents))}
        facts = {Predicate.RELEASE: {"bundle": digest_of(bundle)}, Predicate.SCAN: scan}
        statements = {p: sign_statement(p, about, f, signer=self.release, at=NOW) for p, f in facts.items()}
        version = SignedVersion(about=about, manifest=data, attestations={Predicate.FILES: bundle, **statements})
        files = {path: seal_bytes([data]) for path, data in contents.items()}
        return verify_model(StoredModel(version=version, files=files), self.trust, at=NOW)


def served_of(contents: Mapping[str, object]) -> ServedFile | None:
    """What a scan finds of these models, whose names are honest."""
    path = next((path for path in contents if path.endswith((".onnx", ".skops"))), None)
    if path is None:
        return None
    return ServedFile(path=path, runtime="onnx" if path.endswith(".onnx") else "skops")


def fitted() -> tuple[Pipeline, np.ndarray]:
    """A scaled logistic regression on real diagnoses, and its rows."""
    rows, labels = load_breast_cancer(return_X_y=True)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(rows, labels), rows


def diagnosis_onnx(model: Pipeline, rows: np.ndarray) -> bytes:
    graph = to_onnx(model, rows[:1].astype(np.float32), options={"zipmap": False}, target_opset=17)
    return graph.SerializeToString()


def diagnosis_skops(model: Pipeline) -> bytes:
    return skops.io.dumps(model)


def constant_onnx(value: float, *, rows: int | str = "N") -> bytes:
    """Gives `value` for each row of X: which version answered can be read off."""
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["X", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "value"], ["y"]),
        ],
        "constant",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [rows, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, 1])],
        [
            numpy_helper.from_array(np.zeros(1, np.float32), "zero"),
            numpy_helper.from_array(np.full(1, value, np.float32), "value"),
        ],
    )
    return _saved(graph)


def looping_onnx() -> bytes:
    """Runs its loop as often as its input says: a large number never comes back."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["cond_in"], ["cond_out"]),
            helper.make_node("Add", ["sum_in", "one"], ["sum_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("cond_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_in", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("cond_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_out", TensorProto.FLOAT, [1]),
        ],
        [numpy_helper.from_array(np.ones(1, np.float32), "one")],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["times", "true", "start"], ["y"], body=body)],
        "looping",
        [helper.make_tensor_value_info("times", TensorProto.INT64, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [
            numpy_helper.from_array(np.array(True), "true"),
            numpy_helper.from_array(np.zeros(1, np.float32), "start"),
        ],
    )
    return _saved(graph)


def growing_onnx() -> bytes:
    """Gives as many zeros as its input says: its memory is the caller's choice."""
    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["size"], ["zeros"]), helper.make_node("ReduceSum", ["zeros"], ["y"])],
        "growing",
        [helper.make_tensor_value_info("size", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    return _saved(graph)


def picky_onnx() -> bytes:
    """Looks up row X of a table of three: other numbers make it raise."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "X"], ["y"], axis=0)],
        "picky",
        [helper.make_tensor_value_info("X", TensorProto.INT64, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(np.array([10, 11, 12], np.float32), "table")],
    )
    return _saved(graph)


def weights_onnx(location: str = "weights.bin") -> dict[str, bytes]:
    """A model whose weights lie in a file of their own."""
    weights = np.arange(300, dtype=np.float32).reshape(300, 1)
    tensor = numpy_helper.from_array(weights, "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(weights.nbytes))):
        tensor.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["X", "w"], ["y"])],
        "external",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 300])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1])],
        [tensor],
    )
    return {"model.onnx": _saved(graph), location: weights.tobytes(), "metrics.json": json.dumps({}).encode()}


def _saved(graph: onnx.GraphProto) -> bytes:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
