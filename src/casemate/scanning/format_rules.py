"""Rules for formats that are read by their structure: boosted trees, Keras, TensorFlow, GGUF, folders of a hub."""

from __future__ import annotations

from casemate.core import Severity
from casemate.scanning.rules import Rule

_ARTIFACT = "ATLAS:AML.T0011.000"
_SUPPLY = ("ATLAS:AML.T0010.003", "OWASP-ML:ML06")
_SAVE_AGAIN = "Save the model again with a current version of its library."

BOOSTER_MALFORMED = Rule(
    id="booster-malformed",
    title="The file of boosted trees is broken",
    severity=Severity.HIGH,
    remediation=_SAVE_AGAIN,
)
BOOSTER_TREE = Rule(
    id="booster-bad-tree",
    title="A tree points outside itself or in a circle",
    severity=Severity.CRITICAL,
    remediation="Treat the file as hostile: the library would read memory that is not the model's, or never end.",
    references=(*_SUPPLY, "CWE:125"),
)
BOOSTER_OBJECTIVE = Rule(
    id="booster-unknown-objective",
    title="An objective that the library does not have",
    severity=Severity.HIGH,
    remediation="Train with an objective of the library; one of your own is not part of the file.",
)
BOOSTER_LEGACY = Rule(
    id="booster-legacy-format",
    title="XGBoost's old binary format, which its library no longer reads",
    severity=Severity.HIGH,
    remediation="Load it with the version that wrote it and save it as model.ubj or model.json.",
)
KERAS_CODE = Rule(
    id="keras-code",
    title="The Keras model carries code, or names code to import",
    severity=Severity.CRITICAL,
    remediation="Treat the file as hostile; if it is yours, replace the Lambda or custom object by Keras' own layers.",
    references=(_ARTIFACT, *_SUPPLY, "CWE:502"),
)
KERAS_OBJECT = Rule(
    id="keras-unknown-object",
    title="The Keras model builds what is not on the allow-list",
    severity=Severity.HIGH,
    remediation="Use Keras' own layers, or export the model to ONNX.",
    references=(_ARTIFACT, *_SUPPLY),
)
KERAS_MALFORMED = Rule(
    id="keras-malformed",
    title="The Keras file is broken or holds what does not belong to one",
    severity=Severity.HIGH,
    remediation=_SAVE_AGAIN,
)
HDF5_MALFORMED = Rule(
    id="hdf5-malformed",
    title="The HDF5 file is broken",
    severity=Severity.HIGH,
    remediation=_SAVE_AGAIN,
)
TENSORFLOW_OPERATOR = Rule(
    id="tensorflow-dangerous-operator",
    title="The TensorFlow graph reads or writes files, or calls out of the graph",
    severity=Severity.CRITICAL,
    remediation="Treat the model as hostile: its operators act on the machine that runs it.",
    references=(_ARTIFACT, *_SUPPLY, "CWE:829"),
)
TENSORFLOW_UNKNOWN = Rule(
    id="tensorflow-unknown-operator",
    title="The TensorFlow graph uses an operator that is not on the allow-list",
    severity=Severity.HIGH,
    remediation="Export with TensorFlow's standard operators, or to ONNX.",
)
TENSORFLOW_MALFORMED = Rule(
    id="tensorflow-malformed",
    title="The SavedModel is broken",
    severity=Severity.HIGH,
    remediation=_SAVE_AGAIN,
)
TORCHSCRIPT_CODE = Rule(
    id="torchscript-dangerous-operator",
    title="The TorchScript code loads, writes or calls what a model does not need",
    severity=Severity.CRITICAL,
    remediation="Treat the file as hostile; if it is yours, trace the model again without that operator.",
    references=(_ARTIFACT, *_SUPPLY, "CWE:829"),
)
TORCH_EXPORT_MALFORMED = Rule(
    id="torch-export-malformed",
    title="The exported program is broken or carries code",
    severity=Severity.CRITICAL,
    remediation="Export the program again with torch.export.save.",
    references=(_ARTIFACT, *_SUPPLY),
)
GGUF_MALFORMED = Rule(
    id="gguf-malformed",
    title="The GGUF file is broken",
    severity=Severity.CRITICAL,
    remediation="Convert the model again; from elsewhere, treat it as hostile: readers of GGUF have had overflows.",
    references=(*_SUPPLY, "CWE:190"),
)
TEMPLATE_CODE = Rule(
    id="chat-template-code",
    title="The chat template reaches behind what a template needs",
    severity=Severity.CRITICAL,
    remediation="Treat the model as hostile: rendering this template outside a sandbox would run code (CVE-2024-34359).",
    references=(_ARTIFACT, *_SUPPLY, "CWE:1336"),
)
HUB_CODE = Rule(
    id="hub-custom-code",
    title="The folder brings code of its own, or asks for code from elsewhere",
    severity=Severity.CRITICAL,
    remediation="Remove the code and `auto_map`, and use an architecture that the library has; never trust_remote_code.",
    references=(_ARTIFACT, *_SUPPLY, "CWE:829"),
)
