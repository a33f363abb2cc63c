"""Keras files and TensorFlow SavedModels, inside the sandbox.

The scan has allowed every object that a Keras file builds and every operator of a SavedModel. Keras builds in `safe_mode` here, and
follows no link out of its HDF5 file. A SavedModel has to lie in a folder: it is copied into TensorFlow's own file
system in memory, since nothing can be written here. Source: keras.io, "Serialization and saving"; tensorflow.org, "Using the SavedModel format".
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ |= {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "CUDA_VISIBLE_DEVICES": "",
}  # read when it loads
os.environ["KERAS_HOME"] = tempfile.tempdir = "/"  # looked at as they load; nothing can be written anywhere

import tensorflow as tf

from casemate.core import DATATYPES, SandboxError, Signature, TensorSpec
from casemate.runtime.tensors import Array, datatype_of
from casemate.runtime.worker import Files, serve_model, zeros
from casemate.sandbox import Channel

_FOLDER = "ram://model"
_MOST_WEIGHTS = 1 << 30  # bytes of an HDF5 file, which is held whole
_DATATYPES = {getattr(tf, name if name != "object" else "string"): datatype for datatype, name in DATATYPES.items()}


class TensorflowModel:
    """A function of named tensors."""

    def __init__(self, call: Any, given: Sequence[TensorSpec]) -> None:
        """Args: call: {name: tensor} -> {name: tensor}."""
        self._call, self._given = call, tuple(given)
        whole = Signature(inputs=self._given, outputs=(), runtime="tensorflow")
        answer = self.predict(zeros(whole, rows=1))
        free = all(spec.shape[:1] == (-1,) for spec in self._given)
        outputs = tuple(
            TensorSpec(
                name=name,
                datatype=datatype_of(array.dtype),
                shape=(-1, *array.shape[1:]) if free and array.shape[:1] == (1,) else array.shape,
            )
            for name, array in answer.items()
        )
        self.signature = Signature(inputs=self._given, outputs=outputs, runtime="tensorflow")

    def predict(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        tensors = {spec.name: tf.convert_to_tensor(inputs[spec.name]) for spec in self._given}
        found = self._call(tensors)
        if not all(isinstance(value, tf.Tensor) and value.dtype in _DATATYPES for value in found.values()):
            raise SandboxError("The model gives something else than tensors.", code="model-io")
        return {name: value.numpy() for name, value in found.items()}


def load(files: Files) -> TensorflowModel:
    """Raises: SandboxError `model-io`: its inputs or outputs are no plain tensors; whatever the libraries raise."""
    tf.config.threading.set_intra_op_parallelism_threads(files.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if files.model.rpartition("/")[2] == "saved_model.pb":
        return _load_saved_model(files)
    return _load_keras(files)


# Keras -------------------------------------------------------------------------------------------------------------
def _load_keras(files: Files) -> TensorflowModel:
    with Path(files.open_path()).open("rb") as file:
        with zipfile.ZipFile(file) as archive:
            if archive.getinfo("model.weights.h5").file_size > _MOST_WEIGHTS:
                raise SandboxError(f"Its weights have over {_MOST_WEIGHTS} bytes.", code="model-io")
        file.seek(0)
        from keras.src.saving import (
            saving_lib,
        )  # the public function takes a path that ends in .keras, and none is here

        model = saving_lib.load_model(file, compile=False, safe_mode=True)
    given = [_spec(tensor.name, tensor.dtype, tensor.shape) for tensor in model.inputs]
    # Outputs without names of their own are called as the layers that give them, as Keras does.
    names = [tensor._keras_history.operation.name for tensor in model.outputs]  # noqa: SLF001

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def call(tensors: dict[str, Any]) -> Any:
        ordered = [tensors[spec.name] for spec in given]
        return model(ordered[0] if len(ordered) == 1 else ordered, training=False)

    return TensorflowModel(lambda tensors: _named(call(tensors), names), given)


def _named(answer: Any, names: Sequence[str]) -> dict[str, Any]:
    if isinstance(answer, Mapping):
        return {str(name): value for name, value in answer.items()}
    values = answer if isinstance(answer, list | tuple) else [answer]
    return dict(
        zip(names if len(names) == len(values) else map("output_{}".format, range(len(values))), values, strict=True)
    )


# SavedModel --------------------------------------------------------------------------------------------------------
def _load_saved_model(files: Files) -> TensorflowModel:
    beside = files.model.removesuffix("saved_model.pb")
    _copy(files, beside)
    try:
        model = tf.saved_model.load(_FOLDER)
    finally:
        tf.io.gfile.rmtree(_FOLDER)  # its variables have their own copy
    function = _function(model.signatures)
    _, by_name = function.structured_input_signature
    given = [_spec(name, spec.dtype, spec.shape) for name, spec in sorted(by_name.items())]
    kept = model  # a function refers to its variables weakly
    return TensorflowModel(lambda tensors: function(**tensors) if kept else {}, given)


def _copy(files: Files, beside: str) -> None:
    for path, fd in files.fds.items():
        inner = path.removeprefix(beside)
        if not path.startswith(beside) or not inner.startswith(("saved_model.pb", "variables/", "fingerprint.pb")):
            continue
        target = f"{_FOLDER}/{inner}"
        tf.io.gfile.makedirs(target.rpartition("/")[0])
        with os.fdopen(os.dup(fd), "rb") as source, tf.io.gfile.GFile(target, "wb") as file:
            source.seek(0)
            shutil.copyfileobj(source, file, 1 << 20)


def _function(signatures: Mapping[str, Any]) -> Any:
    """The one to serve: `serving_default`, or the only one. Raises: SandboxError."""
    if "serving_default" in signatures:
        return signatures["serving_default"]
    if len(signatures) != 1:
        raise SandboxError(
            f"The SavedModel has {len(signatures)} signatures and none is called serving_default: export one.",
            code="model-io",
        )
    return next(iter(signatures.values()))


def _spec(name: str, dtype: Any, shape: Any) -> TensorSpec:
    kind = tf.as_dtype(dtype)
    if kind not in _DATATYPES:
        raise SandboxError(f"{name!r} is {kind.name}, which cannot be served: give it float32.", code="model-io")
    sizes = tf.TensorShape(shape)
    if sizes.rank is None:
        raise SandboxError(f"{name!r} has any number of dimensions: export the model with a shape.", code="model-io")
    return TensorSpec(name=name, datatype=_DATATYPES[kind], shape=tuple(size or -1 for size in sizes.as_list()))


def serve(channel: Channel, _args: dict[str, Any]) -> None:
    """The worker's entry."""
    serve_model(channel, load)
