"""A model of MLflow on its way to a control plane: which of its files is the model, and what MLflow claims of its training.

Nothing of it is loaded here: its description is read as plain YAML, its files go to be scanned as any push does.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from casemate.client.files import model_files
from casemate.core import CasemateError, InputError, UpstreamError, checked_path, refused_by_system, rfc3339

if TYPE_CHECKING:
    from casemate.client import Casemate

_MAX_DESCRIPTION = 1 << 20  # bytes of an MLmodel file
_ABOUT = frozenset(  # what MLflow writes beside a model
    {
        "MLmodel",
        "conda.yaml",
        "python_env.yaml",
        "requirements.txt",
        "input_example.json",
        "serving_input_example.json",
        "registered_model_meta",
    }
)
_SAFE = {"onnx": "data", "xgboost": "data", "lightgbm": "data"}  # flavour -> where its description names its file
_TAGS = {
    "user": "mlflow.user",
    "script": "mlflow.source.name",
    "repository": "mlflow.source.git.repoURL",
    "commit": "mlflow.source.git.commit",
}
_MOST = 1000  # parameters or metrics of a run
_LINE, _VALUE = 1000, 8000  # characters


def import_model(
    casemate: Casemate,
    model: str,
    *,
    tracking: str,
    registry: str | None = None,
    name: str | None = None,
    dataset: str | None = None,
    reason: str = "",
) -> dict[str, Any]:
    """Push a version of a model registered in MLflow. Args: model: NAME or NAME/VERSION; tracking, registry: their URIs.

    Raises: InputError `extra-missing`, `bad-model`, `mlflow-flavour`, `bad-name`; UpstreamError `mlflow-failed`.
    """
    client, download = _mlflow(tracking, registry)
    wanted, _, number = model.rpartition("/") if "/" in model else (model, "", "")
    try:
        version = client.get_model_version(wanted, number) if number else _newest(client, wanted)
        claims = claims_of(client, version.run_id, server=tracking, model=wanted, version=str(version.version))
        with tempfile.TemporaryDirectory(prefix="casemate-") as folder:
            found = Path(download(f"models:/{wanted}/{version.version}", dst_path=folder))
            pushed = push_folder(casemate, found, name or wanted, claims=claims, dataset=dataset, reason=reason)
    except CasemateError:
        raise
    except Exception as error:  # the library raises many kinds, and what its store does
        raise UpstreamError(
            f"MLflow did not hand on {model[:80]!r} ({type(error).__name__}): look at --tracking and the model's name.",
            code="mlflow-failed",
        ) from error
    return {**pushed, "from": {"model": wanted, "version": str(version.version), "run": version.run_id or ""}}


def push_folder(
    casemate: Casemate,
    folder: Path,
    name: str,
    *,
    claims: Mapping[str, Any],
    dataset: str | None = None,
    reason: str = "",
) -> dict[str, Any]:
    """Push the model in a folder as MLflow lays it out. Raises: InputError `mlflow-flavour`, `bad-model`, `bad-name`."""
    path = served_path(folder)
    return casemate.push_model(registered_name(name), path, dataset=dataset, claims=claims, reason=reason)


def served_path(folder: Path) -> Path:
    """The file that is the model, or its folder where its weights lie beside it.

    Raises: InputError `mlflow-flavour`: it is a pickle, or of a flavour that is not served; `bad-model`.
    """
    flavours = _flavours(folder)
    for flavour, field in _SAFE.items():
        if flavour in flavours:
            path = _inside(folder, flavours[flavour].get(field))
            if path.is_dir():
                return path
            return _with_weights(folder, path) if flavour == "onnx" else path
    sklearn = flavours.get("sklearn", {})
    if sklearn.get("serialization_format") == "skops":
        return _inside(folder, sklearn.get("pickled_model"))
    told = ", ".join(sorted(flavours)) or "none"
    raise InputError(
        f"This model's flavours are {told[:200]}, whose files are pickles or are not served here. Log it as onnx, xgboost, "
        "lightgbm, or sklearn with serialization_format='skops'; or download it and try casemate model convert FILE.",
        code="mlflow-flavour",
    )


def registered_name(name: str) -> str:
    """As models are named here. Raises: InputError `bad-name`: it can only be told by somebody."""
    made = re.sub(r"[ _.]+", "-", name.lower())
    if not re.fullmatch(r"[a-z0-9-]{1,63}", made):
        raise InputError(f"{name[:80]!r} is no name for a model here: give one of a-z, 0-9 and '-'.", code="bad-name")
    return made


def claims_of(client: Any, run_id: str | None, *, server: str, model: str, version: str) -> dict[str, Any]:
    """What MLflow says of the run behind a model version; nobody has attested it."""
    claims: dict[str, Any] = {
        "system": "mlflow",
        "server": _without_password(server),
        "model": _line(model),
        "version": _line(version),
    }
    if not run_id:
        return claims
    run = client.get_run(run_id)
    tags = run.data.tags
    claims |= {
        "run": _line(run_id),
        "experiment": _line(run.info.experiment_id),
        **{field: _line(tags[tag]) for field, tag in _TAGS.items() if tags.get(tag)},
        "started": _time(run.info.start_time),
        "finished": _time(run.info.end_time),
        "parameters": {_line(key): str(value)[:_VALUE] for key, value in list(run.data.params.items())[:_MOST]},
        "metrics": {
            _line(key): float(value) for key, value in list(run.data.metrics.items())[:_MOST] if math.isfinite(value)
        },
        "datasets": [_dataset(one) for one in (run.inputs.dataset_inputs if run.inputs else [])[:100]],
    }
    return {key: value for key, value in claims.items() if value}


def _dataset(given: Any) -> dict[str, str]:
    about = given.dataset
    context = next((tag.value for tag in given.tags if tag.key == "mlflow.data.context"), "")
    found = {"name": about.name, "digest": about.digest, "source": about.source_type, "context": context}
    return {key: _line(value) for key, value in found.items() if value or key == "name"}


def _flavours(folder: Path) -> dict[str, dict[str, Any]]:
    import yaml

    path = folder / "MLmodel"
    try:
        if path.is_symlink() or path.stat().st_size > _MAX_DESCRIPTION:
            raise ValueError
        read = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        flavours = read["flavors"]
        return {str(name): dict(said or {}) for name, said in flavours.items()}
    except OSError as error:
        raise refused_by_system(error) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, yaml.YAMLError) as error:
        raise InputError("This is no model of MLflow: its file MLmodel cannot be read.", code="bad-model") from error


def _inside(folder: Path, named: object) -> Path:
    """Raises: InputError `bad-model`: it names no file of its own."""
    path = folder / checked_path(str(named or ""))
    if path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()) or not path.exists():
        raise InputError("This model of MLflow names a file that it does not hold.", code="bad-model")
    return path


def _with_weights(folder: Path, path: Path) -> Path:
    """An ONNX file, or a folder of it and the weights beside it, without what MLflow says of the model."""
    beside = [file for name, file in model_files(folder) if name not in _ABOUT and not name.startswith("metadata/")]
    others = [file for file in beside if file != path]
    if not others:
        return path
    for _, file in model_files(folder):  # our own copy
        if file != path and file not in others:
            file.unlink()
    return folder


def _newest(client: Any, name: str) -> Any:
    quoted = name.replace("'", "")
    versions = client.search_model_versions(f"name='{quoted}'")
    if not versions:
        raise InputError(f"MLflow has no model {name[:80]!r}.", code="bad-model")
    return max(versions, key=lambda one: int(one.version))


def _mlflow(tracking: str, registry: str | None) -> tuple[Any, Any]:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it phones home by default
    try:
        import mlflow
        from mlflow.artifacts import download_artifacts
    except ImportError as error:
        raise InputError("MLflow needs its extra: pip install 'casemate[mlflow]'.", code="extra-missing") from error
    mlflow.set_tracking_uri(tracking)
    mlflow.set_registry_uri(registry or tracking)
    return mlflow.MlflowClient(tracking_uri=tracking, registry_uri=registry or tracking), download_artifacts


def _line(value: object) -> str:
    return "".join(character if character.isprintable() else "?" for character in str(value))[:_LINE]


def _time(milliseconds: int | None) -> str:
    return rfc3339(datetime.fromtimestamp(milliseconds / 1000, UTC)) if milliseconds else ""


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    return _line(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl())
