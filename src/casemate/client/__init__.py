"""The control plane's API as Python calls: what the command line and your own scripts use.

    with Casemate(server="https://127.0.0.1:8444", key="cm_...", ca="H/tls/ca.pem") as casemate:
        casemate.push_model("diagnosis", Path("model.onnx"))

Every call raises the CasemateError that the server answered with, and returns plain JSON values.
"""

from __future__ import annotations

import os
import ssl
import tarfile
from pathlib import Path
from typing import Any, Self

import httpx

from casemate.client.answers import Download, error_in
from casemate.client.files import CHUNK, ByteStream, Progress, file_size, model_files, private, tar_stream, told, unpack
from casemate.core import InputError, UpstreamError, new_id

_TIMEOUT = httpx.Timeout(10, read=3600)  # seconds; training answers when it is done


class Casemate:
    """A control plane, spoken to over HTTPS with a key, or over the Unix socket of a home of your own.

    Args:
        server: `https://host:port`; needs `key`, and `ca` (PEM file) unless the system trusts the server.
        socket: Path of a home's control socket instead.
    """

    def __init__(
        self,
        *,
        server: str = "",
        key: str = "",
        ca: Path | str | None = None,
        socket: Path | str | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._folder = -1
        if socket is not None:
            # A path through the folder's descriptor, since a socket's own path may not exceed 107 bytes.
            self._folder = os.open(Path(socket).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            transport = httpx.HTTPTransport(uds=f"/proc/self/fd/{self._folder}/{Path(socket).name}")
            self._http = httpx.Client(
                base_url="http://casemate", transport=transport, headers=headers, timeout=_TIMEOUT
            )
            return
        if not server.startswith("https://"):
            raise InputError("The server's address must start with https://.", code="bad-server")
        verify = ssl.create_default_context(cafile=str(ca) if ca else None)
        self._http = httpx.Client(base_url=server, headers=headers, verify=verify, timeout=_TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        if self._folder >= 0:
            os.close(self._folder)

    # Datasets ---------------------------------------------------------------------------------------------------

    def push_dataset(
        self, name: str, path: Path, *, target: str | None = None, reason: str = "", progress: Progress | None = None
    ) -> dict[str, Any]:
        """Push a CSV, JSON Lines or Parquet file as a new version. `target`: the column to be predicted."""
        size = file_size(path)
        query = {"filename": path.name, "target": target, "reason": reason}
        with path.open("rb") as file:
            body = told(iter(lambda: file.read(CHUNK), b""), size, progress)
            return self._change("POST", f"/datasets/{name}/versions", query=query, content=body)

    def datasets(self) -> list[dict[str, Any]]:
        return self._items("/datasets")

    def dataset(self, ref: str) -> dict[str, Any]:
        return self._get(f"/datasets/{_path(ref)}")

    def pull_dataset(self, ref: str, to: Path, *, reason: str = "") -> Path:
        """Write a version's rows to `to` as Parquet."""
        return self._download(f"/datasets/{_path(ref)}/rows", to, reason)

    def verify_datasets(self, ref: str | None = None) -> dict[str, Any]:
        """Read every stored byte of one version, or of all; `{"ok", "checked", "problems"}`."""
        return self._change("POST", "/datasets/verify", query={"ref": ref})

    def delete_dataset(self, ref: str, *, reason: str = "") -> dict[str, Any]:
        return self._change("DELETE", f"/datasets/{_path(ref)}", query={"reason": reason})

    # Models -----------------------------------------------------------------------------------------------------

    def push_model(
        self, name: str, path: Path, *, dataset: str | None = None, reason: str = "", progress: Progress | None = None
    ) -> dict[str, Any]:
        """Push a file or a folder as a new version. `dataset`: what it was trained on, for ranges and lineage."""
        files = model_files(path)
        total = sum(file_size(file) for _, file in files)
        return self._change(
            "POST",
            f"/models/{name}/versions",
            query={"dataset": dataset, "reason": reason},
            content=told(tar_stream(files), total, progress),
            headers={"Content-Type": "application/x-tar"},
        )

    def train(
        self,
        script: Path,
        *,
        dataset: str,
        model: str,
        parameters: str = "{}",
        reason: str = "",
    ) -> dict[str, Any]:
        """Run a training script in the sandbox and push the model that it writes. `parameters`: a JSON object."""
        file_size(script)
        query = {"dataset": dataset, "filename": script.name, "parameters": parameters, "reason": reason}
        return self._change("POST", f"/models/{model}/train", query=query, content=script.read_bytes())

    def models(self) -> list[dict[str, Any]]:
        return self._items("/models")

    def model(self, ref: str) -> dict[str, Any]:
        return self._get(f"/models/{_path(ref)}")

    def lineage(self, ref: str) -> dict[str, Any]:
        return self._get(f"/models/{_path(ref)}/lineage")

    def pull_model(self, ref: str, to: Path, *, reason: str = "") -> Path:
        """Write a version's files into the folder `to`, which must not exist or be empty."""
        if to.exists() and (not to.is_dir() or any(to.iterdir())):
            raise InputError(f"{to} exists and is not an empty folder; name another.", code="exists")
        try:
            with (
                self._opened(f"/models/{_path(ref)}/files", reason) as response,
                tarfile.open(fileobj=ByteStream(response.iter_bytes(CHUNK)), mode="r|") as archive,
            ):
                unpack(archive, to)
        except tarfile.TarError as error:
            raise UpstreamError("The files broke off, and none was kept: pull again.", code="cut-off") from error
        return to

    def verify_models(self, ref: str | None = None) -> dict[str, Any]:
        """Read every stored byte of one version, or of all, and check every signature."""
        return self._change("POST", "/models/verify", query={"ref": ref})

    def approve(self, ref: str, *, environment: str = "dev", reason: str = "") -> dict[str, Any]:
        return self._change(
            "POST", f"/models/{_path(ref)}/approvals", query={"environment": environment, "reason": reason}
        )

    def revoke_model(self, ref: str, *, reason: str) -> dict[str, Any]:
        """End a version for good: it is never deployed or loaded again, and what serves it is paused."""
        return self._change("POST", f"/models/{_path(ref)}/revocation", query={"reason": reason})

    def delete_model(self, ref: str, *, reason: str = "") -> dict[str, Any]:
        return self._change("DELETE", f"/models/{_path(ref)}", query={"reason": reason})

    # Deployments ------------------------------------------------------------------------------------------------

    def deploy(
        self, name: str, model: str, *, profile: str | None = None, environment: str | None = None, reason: str = ""
    ) -> dict[str, Any]:
        """Serve a model version under `name`; returns when it serves."""
        query = {"model": model, "profile": profile, "environment": environment, "reason": reason}
        return self._change("PUT", f"/deployments/{name}", query=query)

    def rollback(self, name: str, *, reason: str = "") -> dict[str, Any]:
        """Serve the version before this one again, once it has been verified again."""
        return self._change("POST", f"/deployments/{name}/rollback", query={"reason": reason})

    def pause(self, name: str, *, reason: str = "") -> dict[str, Any]:
        return self._change("POST", f"/deployments/{name}/pause", query={"reason": reason})

    def resume(self, name: str, *, reason: str = "") -> dict[str, Any]:
        return self._change("POST", f"/deployments/{name}/resume", query={"reason": reason})

    def deployments(self) -> list[dict[str, Any]]:
        return self._items("/deployments")

    def deployment(self, name: str) -> dict[str, Any]:
        return self._get(f"/deployments/{name}")

    # Keys -------------------------------------------------------------------------------------------------------

    def issue_key(
        self,
        name: str,
        *,
        role: str,
        expires: str = "90d",
        deployment: str | None = None,
        rate: str | None = None,
        reason: str = "",
    ) -> dict[str, Any]:
        """A new API key, shown this once. `expires`: as in `1h`. `rate`: as in `50/s`."""
        query = {"role": role, "expires": expires, "deployment": deployment, "rate": rate, "reason": reason}
        return self._change("POST", "/keys", query={"name": name, **query})

    def keys(self) -> list[dict[str, Any]]:
        return self._items("/keys")

    def revoke_key(self, key_id: str, *, reason: str = "") -> dict[str, Any]:
        return self._change("DELETE", f"/keys/{key_id}", query={"reason": reason})

    # The record -------------------------------------------------------------------------------------------------

    def audit_entries(self, **filters: Any) -> list[dict[str, Any]]:
        """Newest first. Filters: kind, actor, action, resource, since, until, limit."""
        return self._items("/audit/entries", query=filters)

    def audit_verify(self, *, against: str | None = None) -> dict[str, Any]:
        """Check the whole log; `against`: a checkpoint that you kept. `{"ok", "size", "root", "problems"}`."""
        return self._change("POST", "/audit/verify", content=(against or "").encode())

    def audit_proof(self, entry: str) -> dict[str, Any]:
        return self._get(f"/audit/entries/{entry}/proof")

    def audit_checkpoint(self) -> str:
        return str(self._get("/audit/checkpoint")["checkpoint"])

    def export_audit(self, to: Path) -> Path:
        """Write the whole log to `to` as JSON lines."""
        return self._download("/audit/export", to, "")

    def status(self) -> dict[str, Any]:
        return self._get("/status")

    # HTTP -------------------------------------------------------------------------------------------------------

    def _get(self, path: str, query: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._answer(self._send("GET", path, query=query))

    def _items(self, path: str, query: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """All items of a list, page by page, up to the `limit` in the query."""
        query, items = dict(query or {}), []
        while True:
            page = self._get(path, query)
            items += page["items"]
            if not page["next"] or len(items) >= int(query.get("limit") or 1 << 62):
                return items
            query["after"] = page["next"]

    def _change(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **request: Any
    ) -> dict[str, Any]:
        headers = {"Idempotency-Key": new_id("req"), **(headers or {})}
        return self._answer(self._send(method, path, headers=headers, **request))

    def _send(self, method: str, path: str, *, query: dict[str, Any] | None = None, **request: Any) -> httpx.Response:
        params = {key: value for key, value in (query or {}).items() if value not in (None, "")}
        try:
            return self._http.request(method, "/api/v1" + path, params=params, **request)
        except httpx.HTTPError as error:
            raise UpstreamError(f"The control plane does not answer ({error}).", code="no-answer") from error

    def _opened(self, path: str, reason: str) -> Download:
        return Download(self._http, "/api/v1" + path, {"reason": reason} if reason else {})

    def _download(self, path: str, to: Path, reason: str) -> Path:
        part = to.with_name(to.name + ".part")
        try:
            with self._opened(path, reason) as response, open(part, "wb", opener=private) as file:
                file.writelines(response.iter_bytes(CHUNK))
            part.replace(to)
        finally:
            part.unlink(missing_ok=True)
        return to

    @staticmethod
    def _answer(response: httpx.Response) -> dict[str, Any]:
        if response.is_success:
            value: dict[str, Any] = response.json()
            return value
        raise error_in(response)


def _path(ref: str) -> str:
    """`name@2` -> `name/versions/2`; no version means the latest."""
    name, _, version = ref.partition("@")
    return f"{name}/versions/{version or 'latest'}"
