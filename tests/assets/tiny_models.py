"""Small real models and scripts for tests of the whole way."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def doubling_model(factor: float) -> bytes:
    """An ONNX model with one input X [N, 3] that it multiplies by `factor`."""
    weights = numpy_helper.from_array(np.array([factor], dtype=np.float32), "factor")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["X", "factor"], ["Y"])],
        "double",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 3])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


SCRIPT = b"""
import json, os
from pathlib import Path
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

factor = json.loads(os.environ["CASEMATE_PARAMETERS"]).get("factor", 2.0)
graph = helper.make_graph(
    [helper.make_node("Mul", ["X", "factor"], ["Y"])], "double",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 3])],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 3])],
    [numpy_helper.from_array(np.array([factor], dtype=np.float32), "factor")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
Path(os.environ["CASEMATE_OUTPUT"], "model.onnx").write_bytes(model.SerializeToString())
"""

ROWS = "a,b,c,label\n" + "".join(f"{i},{i * 0.5},{i * 0.25},{i % 2}\n" for i in range(50))
