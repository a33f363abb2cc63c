"""Every rule of the scanner by construction: id, title, severity, what to do, and references.

References: MITRE ATLAS (AML.T0011.000 unsafe AI artifacts, AML.T0010.003 supply chain: model, AML.T0029 denial of
service), OWASP Machine Learning Security Top 10 (ML06 supply chain attacks), CWE.
"""

from __future__ import annotations

import msgspec

from casemate.core import Finding, Severity

_CLIP = 240  # characters of foreign text in one field
_ARTIFACT = "ATLAS:AML.T0011.000"
_SUPPLY = ("ATLAS:AML.T0010.003", "OWASP-ML:ML06")
_DENIAL = "ATLAS:AML.T0029"
_CONVERT = "Convert it (`casemate model convert FILE --to onnx`, or skops, xgboost, lightgbm), and push that."


def printable(text: str) -> str:
    """Foreign text, fit to be shown: clipped, and without control characters."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[:_CLIP])[:_CLIP]


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to find; see `Finding`."""

    id: str
    title: str
    severity: Severity
    remediation: str
    references: tuple[str, ...] = _SUPPLY

    def found(self, evidence: str, *, location: str = "", confidence: float = 1.0, remediation: str = "") -> Finding:
        return Finding(
            id=self.id,
            title=self.title,
            severity=self.severity,
            evidence=printable(evidence),
            remediation=remediation or self.remediation,
            confidence=confidence,
            location=printable(location),
            references=self.references,
        )


SCAN_FAILED = Rule(
    id="scan-failed",
    title="The inspection did not come to an end",
    severity=Severity.CRITICAL,
    remediation="Treat the file as hostile; if you made it yourself, export it again and scan it once more.",
    references=(*_SUPPLY, _DENIAL),
)
SCAN_LIMIT = Rule(
    id="scan-limit",
    title="The file needs more work than a scan may take",
    severity=Severity.HIGH,
    remediation="Export the model in a simpler form, or raise the scan's limits if you trust where it comes from.",
    references=(*_SUPPLY, _DENIAL),
)
FORMAT_UNKNOWN = Rule(
    id="format-unknown",
    title="Not a known model format",
    severity=Severity.HIGH,
    remediation="Convert the model to ONNX, safetensors or skops, and push that.",
)
FORMAT_UNSUPPORTED = Rule(
    id="format-unsupported",
    title="A known format that is not supported yet",
    severity=Severity.HIGH,
    remediation="Convert the model to ONNX or safetensors, and push that.",
)
NO_MODEL = Rule(
    id="no-model",
    title="There is no model among the files",
    severity=Severity.HIGH,
    remediation="Push a file or folder that holds one ONNX, skops, XGBoost, LightGBM or safetensors model.",
    references=(),
)
SEVERAL_MODELS = Rule(
    id="several-models",
    title="More than one model among the files",
    severity=Severity.HIGH,
    remediation="Push each model under a name of its own.",
    references=(),
)
NAME_MISLEADS = Rule(
    id="name-misleads",
    title="The name says one format, the content another",
    severity=Severity.HIGH,
    remediation="Rename the file after what it is.",
)
POLYGLOT = Rule(
    id="polyglot",
    title="The file is two formats at once",
    severity=Severity.CRITICAL,
    remediation="Treat the file as hostile: different loaders would see different content.",
)
EXECUTABLE = Rule(
    id="executable-file",
    title="A program, not a model",
    severity=Severity.CRITICAL,
    remediation="Remove it: a model version holds no programs.",
)
SIDE_FILE = Rule(
    id="side-file-refused",
    title="A file that does not belong to a model",
    severity=Severity.HIGH,
    remediation="Remove it, or write it as JSON, Markdown or plain text (UTF-8, within the size bound).",
)
PICKLE_IMPORT = Rule(
    id="pickle-forbidden-import",
    title="The pickle imports what no model of its framework needs",
    severity=Severity.CRITICAL,
    remediation="Treat the file as hostile: loading it would run code of its author's choice. Do not load it.",
    references=(_ARTIFACT, *_SUPPLY, "CWE:502"),
)
PICKLE_UNRESOLVABLE = Rule(
    id="pickle-unresolvable-import",
    title="The pickle hides what it imports",
    severity=Severity.CRITICAL,
    remediation="Treat the file as hostile: names are built while it loads, so that no scanner can see them.",
    references=(_ARTIFACT, *_SUPPLY, "CWE:502"),
)
PICKLE_CALL = Rule(
    id="pickle-forbidden-call",
    title="The pickle calls a value that is no allowed import",
    severity=Severity.CRITICAL,
    remediation="Treat the file as hostile: loading it would call what another call returned.",
    references=(_ARTIFACT, *_SUPPLY, "CWE:502"),
)
PICKLE_MALFORMED = Rule(
    id="pickle-malformed",
    title="The pickle is broken",
    severity=Severity.CRITICAL,
    remediation="Treat the file as hostile: what stands before the break runs before a loader notices it.",
    references=(_ARTIFACT, *_SUPPLY, "CWE:502"),
)
PICKLE_TRAILING = Rule(
    id="pickle-trailing-bytes",
    title="Something follows the end of the pickle",
    severity=Severity.HIGH,
    remediation="Export the model again; a pickle ends where it says.",
    references=(_ARTIFACT, *_SUPPLY),
)
PICKLE_SEVERAL = Rule(
    id="pickle-several",
    title="Several pickles in one file",
    severity=Severity.HIGH,
    remediation=_CONVERT,
    references=(_ARTIFACT, *_SUPPLY),
)
PICKLE_PERSISTENT = Rule(
    id="pickle-persistent-id",
    title="The pickle asks its loader for outside objects",
    severity=Severity.HIGH,
    remediation=_CONVERT,
    references=(_ARTIFACT, *_SUPPLY),
)
PICKLE_NOT_SERVED = Rule(
    id="pickle-not-served",
    title="A pickle with nothing suspicious in it; pickles are not served",
    severity=Severity.HIGH,
    remediation=_CONVERT,
    references=(_ARTIFACT, "CWE:502"),
)
ARCHIVE_MALFORMED = Rule(
    id="archive-malformed",
    title="The archive contradicts itself or hides bytes",
    severity=Severity.CRITICAL,
    remediation="Treat the file as hostile: different programs would unpack different content.",
    references=(*_SUPPLY, "CWE:436"),
)
ARCHIVE_PATH = Rule(
    id="archive-path-traversal",
    title="An archive member has an unsafe name",
    severity=Severity.CRITICAL,
    remediation="Treat the file as hostile: unpacking it could write outside its folder.",
    references=(*_SUPPLY, "CWE:22"),
)
ARCHIVE_LINK = Rule(
    id="archive-link",
    title="An archive member is a link or a device",
    severity=Severity.CRITICAL,
    remediation="Pack regular files only.",
    references=(*_SUPPLY, "CWE:59"),
)
ARCHIVE_ENCRYPTED = Rule(
    id="archive-encrypted",
    title="An archive member is encrypted",
    severity=Severity.HIGH,
    remediation="Push it without a password; Casemate encrypts what it stores.",
)
ARCHIVE_BOMB = Rule(
    id="archive-bomb",
    title="The archive unpacks to far more than it should",
    severity=Severity.CRITICAL,
    remediation="Treat the file as hostile, or push the model unpacked.",
    references=(*_SUPPLY, _DENIAL, "CWE:409"),
)
ARCHIVE_DUPLICATE = Rule(
    id="archive-duplicate-name",
    title="Two archive members share a name",
    severity=Severity.CRITICAL,
    remediation="Treat the file as hostile: different programs would see different members.",
    references=(*_SUPPLY, "CWE:694"),
)
ARCHIVE_NOT_SERVED = Rule(
    id="archive-not-served",
    title="A packed model; archives are not served",
    severity=Severity.HIGH,
    remediation="Unpack it and push the files.",
    references=(),
)
ARCHIVE_UNSUPPORTED = Rule(
    id="archive-unsupported",
    title="An archive format that is not looked into",
    severity=Severity.HIGH,
    remediation="Unpack it and push the files.",
)
ONNX_MALFORMED = Rule(
    id="onnx-malformed",
    title="The ONNX file is broken",
    severity=Severity.HIGH,
    remediation="Export the model again.",
)
ONNX_INVALID = Rule(
    id="onnx-invalid",
    title="The ONNX model breaks the standard",
    severity=Severity.HIGH,
    remediation="Export the model again with a current exporter.",
)
ONNX_EXTERNAL = Rule(
    id="onnx-external-data",
    title="The ONNX model points at data that it may not have",
    severity=Severity.CRITICAL,
    remediation="Keep weights in the file, or in a file beside it that is pushed with it.",
    references=(*_SUPPLY, "CWE:22"),
)
ONNX_WEIGHTS = Rule(
    id="onnx-weights-file",
    title="A file of weights is more than weights",
    severity=Severity.CRITICAL,
    remediation="Keep the weights in the model, or save them beside it again with `onnx.save(..., save_as_external_data="
    "True)`, in a file like model.onnx.data that holds nothing else.",
    references=(_ARTIFACT, *_SUPPLY),
)
ONNX_OPERATOR = Rule(
    id="onnx-unknown-operator",
    title="The ONNX model uses an operator that is not standard",
    severity=Severity.HIGH,
    remediation="Export with standard operators only: others need native code of somebody's.",
)
ONNX_TENSOR = Rule(
    id="onnx-bad-tensor",
    title="A tensor's shape and bytes disagree",
    severity=Severity.CRITICAL,
    remediation="Export the model again; if it came from elsewhere, treat it as hostile.",
    references=(*_SUPPLY, "CWE:190"),
)
SAFETENSORS_MALFORMED = Rule(
    id="safetensors-malformed",
    title="The safetensors file is broken",
    severity=Severity.HIGH,
    remediation="Save the weights again with a current safetensors library.",
)
SKOPS_MALFORMED = Rule(
    id="skops-malformed",
    title="The skops file is broken",
    severity=Severity.HIGH,
    remediation="Dump the estimator again with a current skops.",
)
SKOPS_TYPE = Rule(
    id="skops-forbidden-type",
    title="The skops file builds what no scikit-learn model needs",
    severity=Severity.CRITICAL,
    remediation="Treat the file as hostile, unless the type is your own; then convert the model to ONNX.",
    references=(_ARTIFACT, *_SUPPLY, "CWE:502"),
)
NUMPY_OBJECTS = Rule(
    id="numpy-object-array",
    title="A NumPy file holds a pickle",
    severity=Severity.CRITICAL,
    remediation="Save numbers, not objects: np.save(..., allow_pickle=False).",
    references=(_ARTIFACT, *_SUPPLY, "CWE:502"),
)
NUMPY_MALFORMED = Rule(
    id="numpy-malformed",
    title="The NumPy file is broken",
    severity=Severity.HIGH,
    remediation="Save the array again.",
)
JSON_MALFORMED = Rule(
    id="json-malformed",
    title="The JSON file is broken or ambiguous",
    severity=Severity.HIGH,
    remediation="Write strict JSON without duplicate keys.",
)
DATASET_CONVERTED = Rule(
    id="dataset-converted",
    title="The dataset was changed while it was read",
    severity=Severity.INFO,
    remediation="Nothing, if the figures look right; else export the data again as CSV in UTF-8 or as Parquet.",
    references=(),
)
DATASET_EMPTY_COLUMN = Rule(
    id="dataset-empty-column",
    title="A column without a value",
    severity=Severity.LOW,
    remediation="Check where the column comes from, or drop it before training.",
    references=(),
)
DATASET_NOT_FINITE = Rule(
    id="dataset-not-finite",
    title="A column with infinite values",
    severity=Severity.LOW,
    remediation="Check where they come from, and clean the column before training.",
    references=(),
)
