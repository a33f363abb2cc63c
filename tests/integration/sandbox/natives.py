"""Native libraries at work inside a cell: the imports stand first, as in every worker."""

from __future__ import annotations

import io
import os
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # as the runtimes do, before the library loads: its thread asks for a host

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.linalg
import sklearn
import skops.io
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from casemate.core.wire import Frame


def infer(frame: Frame) -> Frame:
    """onnxruntime on a sealed model, with threads of its own and a matrix product large enough to use them."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(Path(f"/proc/self/fd/{frame.fds[0]}").read_bytes(), options)
    rows = np.frombuffer(frame.buffers[0], np.float32).reshape(-1, 30)
    labels = session.run(None, {session.get_inputs()[0].name: rows})[0]
    return Frame({"version": onnxruntime.__version__}, [bytearray(labels.tobytes())])


def train(channel, args):
    """A forest on several threads, a linear model over BLAS, and skops, scipy and pyarrow round trips."""
    inputs, labels = load_breast_cancer(return_X_y=True)
    forest = RandomForestClassifier(20, n_jobs=2, random_state=0).fit(inputs[::2], labels[::2])
    linear = LogisticRegression(max_iter=50, solver="newton-cholesky").fit(inputs[::2], labels[::2])
    square = np.random.default_rng(0).normal(size=(600, 600))
    residual = float(np.abs(square @ scipy.linalg.inv(square) - np.eye(600)).max())
    stored = skops.io.dumps(linear)
    again = skops.io.loads(stored, trusted=skops.io.get_untrusted_types(data=stored))
    sink = io.BytesIO()
    pq.write_table(pa.table({"x": inputs[:, 0]}), sink)
    back = pq.read_table(io.BytesIO(sink.getvalue()))["x"].to_numpy()
    (Path(args["folder"]) / "model.skops").write_bytes(stored)
    channel.send(
        {
            "forest": forest.score(inputs[1::2], labels[1::2]),
            "same": bool((again.predict(inputs) == linear.predict(inputs)).all()),
            "residual": residual,
            "column": bool((back == inputs[:, 0]).all()),
            "sklearn": sklearn.__version__,
            "threads": len(os.listdir("/proc/self/fd")),
        }
    )
