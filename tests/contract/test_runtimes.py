"""What every runtime of models holds to, in the real sandbox: it predicts as its library does, rows go in together, it tells
its tensors truly, and what is no model of its kind ends in a sentence."""

from __future__ import annotations

import io
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from casemate.core import SealedFile, ServedFile, Signature, Verdict, VerificationError, seal_bytes
from casemate.runtime import describe
from casemate.runtime import formats as runtime_formats
from casemate.runtime.startup import start_worker
from casemate.runtime.tensors import decode_tensors, encode_tensors
from casemate.scanning import scan


@dataclass(frozen=True)
class Made:
    path: str
    data: bytes
    expected: Any  # probabilities of `ROWS`
    runtime: str = ""  # where it is not called as the maker
    beside: dict[str, bytes] = field(default_factory=dict)
    outputs: frozenset[str] = frozenset({"label", "probabilities"})


RANDOM = np.random.default_rng(3)
ROWS = RANDOM.random((40, 5)).astype(np.float32)
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 1).astype(np.int64)


def made_onnx() -> Made:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(ROWS, LABELS)
    graph = to_onnx(model, ROWS[:1], options={"zipmap": False}, target_opset=17)
    return Made("model.onnx", graph.SerializeToString(), model.predict_proba(ROWS))


def made_skops() -> Made:
    import skops.io
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(ROWS, LABELS)
    return Made("model.skops", skops.io.dumps(model), model.predict_proba(ROWS))


def made_xgboost() -> Made:
    xgboost = pytest.importorskip("xgboost")
    data = xgboost.DMatrix(ROWS, LABELS, feature_names=list("abcde"))
    booster = xgboost.train({"objective": "binary:logistic", "nthread": 1, "max_depth": 3}, data, 5)
    scores = booster.predict(data)
    return Made("model.ubj", bytes(booster.save_raw("ubj")), np.stack([1 - scores, scores], axis=1))


def made_lightgbm() -> Made:
    lightgbm = pytest.importorskip("lightgbm")
    data = lightgbm.Dataset(ROWS, LABELS, feature_name=list("abcde"))
    booster = lightgbm.train({"objective": "binary", "num_threads": 1, "min_data_in_leaf": 2, "verbose": -1}, data, 5)
    scores = booster.predict(ROWS)
    return Made("model.txt", booster.model_to_string().encode(), np.stack([1 - scores, scores], axis=1))


def torch_network() -> tuple[Any, Any]:
    """(torch, a network that answers by name)."""
    torch = pytest.importorskip("torch", reason="PyTorch is installed by `make test-formats` alone")

    class Network(torch.nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = torch.nn.Linear(5, 8), torch.nn.Linear(8, 2)

        def forward(self, X):  # noqa: N803
            found = torch.softmax(self.last(torch.relu(self.first(X))), 1)
            return {"label": found.argmax(1), "probabilities": found}

    torch.manual_seed(1)
    return torch, Network().eval()


def predicted_by(torch: Any, network: Any) -> Any:
    with torch.inference_mode():
        return network(torch.from_numpy(ROWS))["probabilities"].numpy()


def made_torch_export() -> Made:
    torch, network = torch_network()
    rows = {"X": {0: torch.export.Dim("rows")}}
    file = io.BytesIO()
    torch.export.save(torch.export.export(network, (torch.from_numpy(ROWS),), dynamic_shapes=rows), file)
    return Made("model.pt2", file.getvalue(), predicted_by(torch, network), "torch")


def made_torchscript() -> Made:
    torch, network = torch_network()
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(network, torch.from_numpy(ROWS), strict=False), file)
    return Made("model.pt", file.getvalue(), predicted_by(torch, network), "torch")


def made_torchscript_told() -> Made:
    """Scripts keep no shapes; a file beside it says them, and names the outputs of a plain tuple."""
    torch, network = torch_network()

    class Plain(torch.nn.Module):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = network.first, network.last

        def forward(self, X):  # noqa: N803
            found = torch.softmax(self.last(torch.relu(self.first(X))), 1)
            return found.argmax(1), found

    file = io.BytesIO()
    torch.jit.save(torch.jit.script(Plain().eval()), file)
    told = b'{"inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 5]}], "outputs": ["label", "probabilities"]}'
    return Made("model.pt", file.getvalue(), predicted_by(torch, network), "torch", {"signature.json": told})


def keras_network() -> tuple[Any, Any, Any]:
    """(keras, a network, its probabilities)."""
    keras = pytest.importorskip("keras", reason="Keras and TensorFlow are installed by `make test-formats` alone")
    keras.utils.set_random_seed(1)
    given = keras.Input((5,), name="X")
    hidden = keras.layers.Dense(8, activation="relu")(given)
    network = keras.Model(given, keras.layers.Dense(2, activation="softmax", name="probabilities")(hidden))
    return keras, network, network.predict(ROWS, verbose=0)


def made_keras() -> Made:
    _, network, expected = keras_network()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        network.save(path)
        return Made("model.keras", path.read_bytes(), expected, "tensorflow", outputs=frozenset({"probabilities"}))


def made_saved_model() -> Made:
    _, network, expected = keras_network()
    tensorflow = pytest.importorskip("tensorflow")
    module = tensorflow.Module()
    module.network = network

    def serve(X):  # noqa: N803
        found = network(X)
        return {"label": tensorflow.argmax(found, 1), "probabilities": found}

    spec = tensorflow.TensorSpec((None, 5), tensorflow.float32, name="X")
    with tempfile.TemporaryDirectory() as folder:
        module.serve = tensorflow.function(serve, input_signature=[spec])
        tensorflow.saved_model.save(module, folder, signatures=module.serve)
        files = {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
    return Made("saved_model.pb", files.pop("saved_model.pb"), expected, "tensorflow", files)


MAKERS = {
    "onnx": made_onnx,
    "skops": made_skops,
    "xgboost": made_xgboost,
    "lightgbm": made_lightgbm,
    "torch-export": made_torch_export,
    "torchscript-traced": made_torchscript,
    "torchscript-told": made_torchscript_told,
    "keras": made_keras,
    "savedmodel": made_saved_model,
}
LIBRARIES = {
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "torch": "torch",
    "tensorflow": "tensorflow",
}  # runtime -> what it needs


def sealed(path: str, data: bytes, beside: dict[str, bytes] | None = None) -> dict[str, SealedFile]:
    return {name: seal_bytes([content]) for name, content in {path: data, **(beside or {})}.items()}


def asked(served: ServedFile, files: dict[str, SealedFile], rows: Any) -> tuple[Signature, dict[str, Any]]:
    """Start a worker as a gateway does, and ask it once."""
    started = start_worker(files, served)
    with started.cell as cell:
        assert started.batchable
        (given,) = started.signature.inputs
        kind = {"FP32": np.float32, "FP64": np.float64}[given.datatype]
        headers, buffers = encode_tensors({given.name: rows.astype(kind)})
        cell.channel.send({"id": 1, "inputs": headers}, buffers)
        frame = cell.channel.recv(10)
        return started.signature, decode_tensors(frame.message["outputs"], frame.buffers)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.filterwarnings("ignore")  # of the libraries that write the models
def test_a_model_that_the_scan_lets_through_predicts_as_its_library_does(kind: str) -> None:
    made = MAKERS[kind]()
    runtime = made.runtime or kind
    files = sealed(made.path, made.data, made.beside)
    report = scan(files)
    assert (report.verdict, report.findings) == (Verdict.CLEAN, ())
    assert report.served == ServedFile(path=made.path, runtime=runtime)
    signature, outputs = asked(report.served, files, ROWS)
    assert signature.runtime == runtime
    (given,) = signature.inputs
    assert given.shape == (-1, 5)
    assert {spec.name for spec in signature.outputs} == set(outputs) == made.outputs
    np.testing.assert_allclose(outputs["probabilities"], made.expected, atol=1e-5)
    if "label" in made.outputs:
        assert (outputs["label"] == made.expected.argmax(axis=1)).all()
    if runtime in ("xgboost", "lightgbm"):
        assert given.features == tuple("abcde")


@pytest.mark.parametrize("runtime", LIBRARIES)
def test_what_is_no_model_of_its_kind_does_not_load_and_says_so(runtime: str) -> None:
    pytest.importorskip(LIBRARIES[runtime])
    files = sealed("model", b"tree\nversion=v4\nthis is no model of any kind\n")
    with pytest.raises(VerificationError) as refused:
        describe(files, ServedFile(path="model", runtime=runtime))
    assert refused.value.code == "model-load-failed"
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("runtime", sorted(runtime_formats.EXTRAS))
def test_an_extra_that_is_not_installed_is_named(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from casemate.core import SandboxError

    monkeypatch.setattr(runtime_formats.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(SandboxError) as missing:
        describe(sealed("model", b"x"), ServedFile(path="model", runtime=runtime))
    assert missing.value.code == "runtime-missing"
    assert f"casemate[{runtime}]" in missing.value.message
