"""Casemate as MLflow's model registry: `mlflow.set_registry_uri("casemate://HOST:PORT")`, then `register_model` lands here.

The key is in `CASEMATE_KEY`, the server's authority in `CASEMATE_CA`. MLflow loads this by its entry point
`mlflow.model_registry_store`. Registering and looking are what it does; the rest is Casemate's own, under its own policies.
"""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INVALID_PARAMETER_VALUE,
    RESOURCE_DOES_NOT_EXIST,
)
from mlflow.store.entities.paged_list import PagedList
from mlflow.store.model_registry.abstract_store import AbstractStore

from casemate.client import Casemate
from casemate.client.mlflow_models import claims_of, push_folder, registered_name
from casemate.core import CasemateError, InputError, NotFoundError, parse_rfc3339

_NO_PROMPTS = "tag.`mlflow.prompt.is_prompt` != 'true'"


class CasemateStore(AbstractStore):  # type: ignore[misc]
    """What `mlflow` asks of a registry. Every refusal of the server comes out as an MlflowException with its sentence."""

    def __init__(self, store_uri: str | None = None, tracking_uri: str | None = None) -> None:
        super().__init__(store_uri, tracking_uri)
        parts = urlsplit(store_uri or "")
        if parts.scheme != "casemate" or not parts.netloc or "@" in parts.netloc or parts.path.strip("/"):
            raise MlflowException(
                "A registry of Casemate is casemate://HOST:PORT; its key stands in CASEMATE_KEY.",
                INVALID_PARAMETER_VALUE,
            )
        self._server, self._tracking_uri = f"https://{parts.netloc}", tracking_uri

    def create_registered_model(
        self,
        name: str,
        tags: Any = None,  # noqa: ARG002 a model begins with its first version; what it is for is its card
        description: str | None = None,  # noqa: ARG002
        deployment_job_id: str | None = None,  # noqa: ARG002
    ) -> Any:
        """Nothing is made yet: a model is there once it has a version."""
        return RegisteredModel(_called(name))

    def create_model_version(  # noqa: PLR0917 as MLflow calls it
        self,
        name: str,
        source: str,
        run_id: str | None = None,
        tags: Any = None,  # noqa: ARG002
        run_link: str | None = None,  # noqa: ARG002
        description: str | None = None,
        local_model_path: str | None = None,
        model_id: str | None = None,
    ) -> Any:
        """Push the model behind `source`, with what the tracking server claims of its run. It is READY once it was scanned."""
        tracking = MlflowClient(tracking_uri=self._tracking_uri)
        if run_id is None and model_id:
            run_id = tracking.get_logged_model(model_id).source_run_id
        claims = claims_of(tracking, run_id, server=self._tracking_uri or "", model=name, version=model_id or "")
        with tempfile.TemporaryDirectory(prefix="casemate-") as folder, self._casemate() as casemate:
            found = download_artifacts(artifact_uri=source, dst_path=folder, tracking_uri=self._tracking_uri)
            if local_model_path and not Path(found).exists():
                found = local_model_path
            pushed = _told(lambda: push_folder(casemate, Path(found), name, claims=claims, reason=description or ""))
        if pushed["version"] is None:
            findings = "; ".join(f"{one['id']}: {one['title']}" for one in pushed["findings"][:5])
            raise MlflowException(f"Casemate refused {name}: {findings}", INVALID_PARAMETER_VALUE)
        now = int(datetime.now(UTC).timestamp() * 1000)
        return ModelVersion(
            name=pushed["name"],
            version=str(pushed["version"]),
            creation_timestamp=now,
            source=source,
            run_id=run_id,
            model_id=model_id,
        )

    def get_registered_model(self, name: str) -> Any:
        """Raises: MlflowException RESOURCE_DOES_NOT_EXIST."""
        with self._casemate() as casemate:
            return _registered(_told(lambda: casemate.model(_called(name))))

    def search_registered_models(
        self,
        filter_string: str | None = None,
        max_results: int | None = None,  # noqa: ARG002 all come at once
        order_by: Any = None,  # noqa: ARG002 by name
        page_token: str | None = None,  # noqa: ARG002
    ) -> Any:
        """All models. A filter is not known here, but the one that MLflow itself adds: prompts are none, and none lie here."""
        if filter_string and filter_string != _NO_PROMPTS:
            _not_here("search with a filter", "casemate model list")
        with self._casemate() as casemate:
            return PagedList([_registered(one) for one in _told(casemate.models)], None)

    def get_model_version(self, name: str, version: str) -> Any:
        """Raises: MlflowException RESOURCE_DOES_NOT_EXIST."""
        with self._casemate() as casemate:
            return _version(_told(lambda: casemate.model(f"{_called(name)}@{version}")))

    def get_latest_versions(self, name: str, stages: Any = None) -> Any:
        """The newest version, whatever the stage: there are none here."""
        _ = stages
        with self._casemate() as casemate:
            return [_version(_told(lambda: casemate.model(_called(name))))]

    def _casemate(self) -> Casemate:
        key, ca = os.environ.get("CASEMATE_KEY", ""), os.environ.get("CASEMATE_CA", "")
        made: Casemate = _told(lambda: Casemate(server=self._server, key=key, ca=ca or None))
        return made

    def get_model_version_download_uri(self, name: str, version: str) -> NoReturn:
        _not_here("download", f"casemate model pull {name}@{version} FOLDER")

    def search_model_versions(self, *_: Any, **__: Any) -> NoReturn:
        _not_here("search versions", "casemate model show NAME@VERSION")

    def update_registered_model(self, *_: Any, **__: Any) -> NoReturn:
        _not_here("describe a model", "casemate model describe NAME@VERSION FILE")

    def rename_registered_model(self, *_: Any, **__: Any) -> NoReturn:
        _not_here("rename a model", "casemate model push NEW-NAME PATH")

    def delete_registered_model(self, *_: Any, **__: Any) -> NoReturn:
        _not_here("delete a model", "casemate model delete NAME@VERSION")

    def set_registered_model_tag(self, *_: Any, **__: Any) -> NoReturn:
        _not_here("tag a model", "casemate model describe NAME@VERSION FILE")

    def delete_registered_model_tag(self, *_: Any, **__: Any) -> NoReturn:
        _not_here("tag a model", "casemate model describe NAME@VERSION FILE")

    def update_model_version(self, *_: Any, **__: Any) -> NoReturn:
        _not_here("describe a version", "casemate model describe NAME@VERSION FILE")

    def transition_model_version_stage(self, *_: Any, **__: Any) -> NoReturn:
        _not_here("set a stage", "casemate model approve NAME@VERSION, then casemate deploy")

    def delete_model_version(self, *_: Any, **__: Any) -> NoReturn:
        _not_here("delete a version", "casemate model delete NAME@VERSION")

    def set_model_version_tag(self, *_: Any, **__: Any) -> NoReturn:
        _not_here("tag a version", "casemate model describe NAME@VERSION FILE")

    def delete_model_version_tag(self, *_: Any, **__: Any) -> NoReturn:
        _not_here("tag a version", "casemate model describe NAME@VERSION FILE")

    def set_registered_model_alias(self, *_: Any, **__: Any) -> NoReturn:
        _not_here("set an alias", "casemate deploy NAME MODEL@VERSION")

    def delete_registered_model_alias(self, *_: Any, **__: Any) -> NoReturn:
        _not_here("set an alias", "casemate deploy NAME MODEL@VERSION")

    def get_model_version_by_alias(self, *_: Any, **__: Any) -> NoReturn:
        _not_here("ask for an alias", "casemate deployment show NAME")


def _called(name: str) -> str:
    made: str = _told(lambda: registered_name(name))
    return made


def _told(call: Any) -> Any:
    """What `call` returns. Raises: MlflowException: what the server, or we, refused."""
    try:
        return call()
    except NotFoundError as error:
        raise MlflowException(error.message, RESOURCE_DOES_NOT_EXIST) from error
    except InputError as error:
        raise MlflowException(f"{error.message} ({error.code})", INVALID_PARAMETER_VALUE) from error
    except CasemateError as error:
        raise MlflowException(f"{error.message} ({error.code})") from error


def _not_here(what: str, instead: str) -> NoReturn:
    raise MlflowException(f"A registry of Casemate does not {what} for MLflow: {instead}", INVALID_PARAMETER_VALUE)


def _version(shown: dict[str, Any]) -> Any:
    return ModelVersion(
        name=shown["name"],
        version=str(shown["version"]),
        creation_timestamp=int(parse_rfc3339(shown["created_at"]).timestamp() * 1000),
        user_id=shown["created_by"],
        description=shown.get("provenance", {}).get("text"),
    )


def _registered(shown: dict[str, Any]) -> Any:
    made = int(parse_rfc3339(shown["created_at"]).timestamp() * 1000)
    return RegisteredModel(
        shown["name"], creation_timestamp=made, last_updated_timestamp=made, latest_versions=[_version(shown)]
    )
