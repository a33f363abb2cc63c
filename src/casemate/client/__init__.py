"""The control plane's API as Python calls: what the command line and your own scripts use.

    with Casemate(server="https://127.0.0.1:8444", key="cm_...", ca="H/tls/ca.pem") as casemate:
        casemate.push_model("diagnosis", Path("model.onnx"))

Every call raises the CasemateError that the server answered with, and returns plain JSON values.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Self

from casemate.client.answers import checked_body, json_body
from casemate.client.cards import CardCalls
from casemate.client.connection import Connection, StepUp
from casemate.client.conversions import ConversionCalls
from casemate.client.dataset_files import Sent, pull_rows, push_rows
from casemate.client.evaluations import EvaluationCalls
from casemate.client.files import (
    CHUNK,
    ByteStream,
    Progress,
    file_size,
    model_files,
    tar_stream,
    told,
    unpack,
)
from casemate.client.grants import GrantCalls
from casemate.client.issuers import IssuerCalls
from casemate.client.keyring import KeyringCalls
from casemate.client.paths import id_part as _id
from casemate.client.paths import name_part as _name
from casemate.client.paths import ref_path as _path
from casemate.client.people import PeopleCalls
from casemate.client.personal import PersonalCalls
from casemate.client.policies import PolicyCalls
from casemate.client.providers import ProviderCalls
from casemate.client.queries import query_rows
from casemate.client.reviews import ReviewCalls
from casemate.client.screenings import ScreeningCalls
from casemate.client.signers import SignerCalls
from casemate.client.trainings import TrainingCalls
from casemate.client.versions import VersionCalls
from casemate.core import InputError, NotFoundError, UpstreamError


class Casemate:
    """A control plane, spoken to over HTTPS with a key, or over the Unix socket of a home of your own.

    Args:
        server: `https://host:port`; needs `key`, and `ca` (PEM file) unless the system trusts the server.
        socket: Path of a home's control socket instead.
        key: of a service, or the token of a session.
        step_up: asked for a code where the server wants a fresh second factor; the same request is then made again.
    """

    def __init__(
        self,
        *,
        server: str = "",
        key: str = "",
        ca: Path | str | None = None,
        socket: Path | str | None = None,
        step_up: StepUp | None = None,
    ) -> None:
        connection = Connection(server=server, key=key, ca=ca, socket=socket, step_up=step_up)
        self._connection, self._get, self._items, self._change = (
            connection,
            connection.get,
            connection.items,
            connection.change,
        )
        self._opened, self._download = connection.opened, connection.download
        self.cards = CardCalls(connection)
        self.versions = VersionCalls(connection)
        self.personal = PersonalCalls(connection)
        self.screenings = ScreeningCalls(connection)
        self.evaluations = EvaluationCalls(connection)
        self.trainings = TrainingCalls(connection)
        self.conversions = ConversionCalls(connection)
        self.grants = GrantCalls(connection)
        self.issuers = IssuerCalls(connection)
        self.signers = SignerCalls(connection)
        self.keyring = KeyringCalls(connection)
        self.people = PeopleCalls(connection)
        self.reviews = ReviewCalls(connection)
        self.policies = PolicyCalls(connection)
        self.providers = ProviderCalls(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    # Datasets ---------------------------------------------------------------------------------------------------

    def push_dataset(
        self,
        name: str,
        path: Path,
        *,
        target: str | None = None,
        data_class: str | None = None,
        purposes: Sequence[str] = (),
        sheet: Mapping[str, Any] | None = None,
        made_from: str | None = None,
        reason: str = "",
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Push a file of rows, or a folder of images or of text files, as a new version.

        CSV, JSON Lines, Parquet, Arrow (IPC, Feather) and NumPy (.npy, .npz) are told apart by content.
        `target`: the column to be predicted. `data_class`: public, internal, personal or health. `purposes`: that it may
        be trained on for; `any`: all. `sheet`: its datasheet, `{"origin", "owner", "licence", "purpose", "collection",
        "columns": {NAME: why}}`; what it leaves out is as it was. `made_from`: the version that the rows were made from.
        """
        query = {"target": target, "data_class": data_class, "purpose": list(purposes), "reason": reason}
        query |= {"made_from": made_from}

        def kept(upload: str) -> dict[str, Any] | None:
            try:
                return self._get(f"/datasets/{_name(name)}/uploads/{upload}")
            except NotFoundError:
                return None

        return push_rows(path, kept, lambda sent: self._push_rows(name, sent, query, sheet, progress))

    def push_query(
        self,
        name: str,
        sql: str,
        source: str,
        *,
        target: str | None = None,
        data_class: str | None = None,
        purposes: Sequence[str] = (),
        sheet: Mapping[str, Any] | None = None,
        reason: str = "",
        vault: Path | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Push what a database answers to `sql`. `source`: a reference to its URL, as `file:///PATH` or `env://NAME`.

        `vault`: the private file that says how to reach Vault, for `vault://`.
        """
        query = {"target": target, "data_class": data_class, "purpose": list(purposes), "reason": reason}
        sent = Sent(filename="query", size=0, chunks=query_rows(sql, source, vault=vault))
        return self._push_rows(name, sent, query, sheet, progress)

    def _push_rows(
        self,
        name: str,
        sent: Sent,
        query: dict[str, Any],
        sheet: Mapping[str, Any] | None,
        progress: Progress | None,
    ) -> dict[str, Any]:
        size, sent = sent.after(sheet)
        query = query | {
            "filename": sent.filename,
            "sheet": size or None,
            "upload": sent.upload,
            "start": sent.start or None,
        }
        body = told(sent.chunks, sent.size, progress, done=sent.start)
        return self._change("POST", f"/datasets/{_name(name)}/versions", query=query, content=body)

    def datasets(self) -> list[dict[str, Any]]:
        return self._items("/datasets")

    def dataset(self, ref: str) -> dict[str, Any]:
        return self._get(f"/datasets/{_path(ref)}")

    def pull_dataset(self, ref: str, to: Path, *, reason: str = "", progress: Progress | None = None) -> Path:
        """Write a version's rows to `to` as Parquet. A pull that broke off goes on where it was."""
        path = f"/datasets/{_path(ref)}/rows"
        return pull_rows(lambda start: self._opened(path, reason, start=start), to, progress)

    def verify_datasets(self, ref: str | None = None) -> dict[str, Any]:
        """Read every stored byte of one version, or of all; `{"ok", "checked", "problems"}`."""
        return self._change("POST", "/datasets/verify", query={"ref": ref})

    def delete_dataset(self, ref: str, *, reason: str = "") -> dict[str, Any]:
        return self._change("DELETE", f"/datasets/{_path(ref)}", query={"reason": reason})

    # Models -----------------------------------------------------------------------------------------------------

    def push_model(
        self,
        name: str,
        path: Path,
        *,
        dataset: str | None = None,
        base: str | None = None,
        provenance: bytes = b"",
        claims: Mapping[str, Any] | None = None,
        script: str | None = None,
        environment: str | None = None,
        reason: str = "",
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """Push a file or a folder as a new version. `dataset`: what it was trained on, for ranges and lineage. `base`: the
        model that it was made from.

        `provenance`: what an outside trainer signed of the training; `script`, `environment`: digests that it must name.
        `claims`: what another system says of it, as `casemate.registry.ClaimedLineage` has it.
        """
        files, claimed = model_files(path), json_body(claims, "lineage that is claimed") if claims else b""
        head = provenance + claimed
        total = len(head) + sum(file_size(file) for _, file in files)
        query = {"dataset": dataset, "base": base, "script": script, "environment": environment, "reason": reason}
        return self._change(
            "POST",
            f"/models/{_name(name)}/versions",
            query=query | {"provenance": len(provenance) or None, "claims": len(claimed) or None},
            content=told(chain((head,) if head else (), tar_stream(files)), total, progress),
            headers={"Content-Type": "application/x-tar"},
        )

    def train(self, script: Path, *, dataset: str, model: str, **asked: Any) -> dict[str, Any]:
        """Run a training script in the sandbox and push the model that it writes. Args: asked: as of `trainings.run`."""
        return self.trainings.run(script, dataset=dataset, model=model, **asked)

    def models(self) -> list[dict[str, Any]]:
        return self._items("/models")

    def model(self, ref: str) -> dict[str, Any]:
        return self._get(f"/models/{_path(ref)}")

    def lineage(self, ref: str) -> dict[str, Any]:
        return self._get(f"/models/{_path(ref)}/lineage")

    def pull_model(self, ref: str, to: Path, *, reason: str = "") -> Path:
        """Write a version's files into the folder `to`, which must not exist or be empty."""
        if to.is_symlink() or (to.exists() and (not to.is_dir() or any(to.iterdir()))):
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

    def approval_words(self, ref: str, *, environment: str = "dev") -> dict[str, Any]:
        """What you would sign to approve a version with a key of your own, and who has signed."""
        return self._get(f"/models/{_path(ref)}/approvals/words", {"environment": environment})

    def approve(self, ref: str, *, environment: str = "dev", reason: str = "", envelope: str = "") -> dict[str, Any]:
        """Approve a version. `envelope`: the words, signed with a key of your own, as `strict` needs."""
        return self._change(
            "POST",
            f"/models/{_path(ref)}/approvals",
            query={"environment": environment, "reason": reason},
            json=checked_body(envelope=envelope) if envelope else None,
        )

    def revoke_model(self, ref: str, *, reason: str, cascade: bool = False) -> dict[str, Any]:
        """End a version for good: it is never deployed or loaded again, and what serves it is paused.

        `cascade`: the same for every version that serves the same file, under whatever name.
        """
        query = {"reason": reason, "cascade": "true" if cascade else None}
        return self._change("POST", f"/models/{_path(ref)}/revocation", query=query)

    def delete_model(self, ref: str, *, reason: str = "") -> dict[str, Any]:
        return self._change("DELETE", f"/models/{_path(ref)}", query={"reason": reason})

    # Deployments ------------------------------------------------------------------------------------------------

    def deploy(
        self, name: str, model: str, *, profile: str | None = None, environment: str | None = None, reason: str = ""
    ) -> dict[str, Any]:
        """Serve a model version under `name`; returns when it serves."""
        query = {"model": model, "profile": profile, "environment": environment, "reason": reason}
        return self._change("PUT", f"/deployments/{_name(name)}", query=query)

    def rollback(self, name: str, *, reason: str = "") -> dict[str, Any]:
        """Serve the version before this one again, once it has been verified again."""
        return self._change("POST", f"/deployments/{_name(name)}/rollback", query={"reason": reason})

    def pause(self, name: str, *, reason: str = "") -> dict[str, Any]:
        return self._change("POST", f"/deployments/{_name(name)}/pause", query={"reason": reason})

    def resume(self, name: str, *, reason: str = "") -> dict[str, Any]:
        return self._change("POST", f"/deployments/{_name(name)}/resume", query={"reason": reason})

    def deployments(self) -> list[dict[str, Any]]:
        return self._items("/deployments")

    def deployment(self, name: str) -> dict[str, Any]:
        return self._get(f"/deployments/{_name(name)}")

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

    def key(self, key_id: str) -> dict[str, Any]:
        """One key, never its secret, with `networks`: where it was used, the latest first."""
        return self._get(f"/keys/{_id(key_id)}")

    def rotate_key(
        self, key_id: str, *, overlap: str = "1h", expires: str | None = None, reason: str = ""
    ) -> dict[str, Any]:
        """A new secret for the same service, shown this once; the old one works for `overlap` longer."""
        query = {"overlap": overlap, "expires": expires, "reason": reason}
        return self._change("POST", f"/keys/{_id(key_id)}/rotation", query=query)

    def revoke_key(self, key_id: str, *, reason: str = "") -> dict[str, Any]:
        return self._change("DELETE", f"/keys/{_id(key_id)}", query={"reason": reason})

    def predictions(self, deployment: str, **filters: Any) -> list[dict[str, Any]]:
        """What is kept of predictions, newest first. Filters: actor, since, until, limit."""
        return self._items(f"/deployments/{_name(deployment)}/predictions", filters)

    def prediction(self, deployment: str, receipt: str) -> dict[str, Any]:
        return self._get(f"/deployments/{_name(deployment)}/predictions/{_id(receipt)}")

    # Access -----------------------------------------------------------------------------------------------------

    def explain_access(self, principal: str, action: str, resource: str, **facts: str | None) -> dict[str, Any]:
        """What the gate would decide now, and why. Facts: environment, profile, role, deployment, expires,
        dataset, data_class, purpose, address, at."""
        query = {"principal": principal, "action": action, "resource": resource, **facts}
        return self._get("/access/explain", query)

    def access_report(self) -> list[dict[str, Any]]:
        """Every grant and the keys that use it, in whatever state."""
        return self._items("/access/report")

    # The record -------------------------------------------------------------------------------------------------

    def audit_entries(self, **filters: Any) -> list[dict[str, Any]]:
        """Newest first. Filters: kind, actor, action, resource, since, until, limit."""
        return self._items("/audit/entries", query=filters)

    def audit_verify(self, *, against: str | None = None) -> dict[str, Any]:
        """Check the whole log; `against`: a checkpoint that you kept. `{"ok", "size", "root", "problems"}`."""
        return self._change("POST", "/audit/verify", content=(against or "").encode(errors="replace"))

    def audit_proof(self, entry: str) -> dict[str, Any]:
        return self._get(f"/audit/entries/{_id(entry)}/proof")

    def audit_checkpoint(self) -> str:
        return str(self._get("/audit/checkpoint")["checkpoint"])

    def export_audit(self, to: Path) -> Path:
        """Write the whole log to `to` as JSON lines."""
        return self._download("/audit/export", to, "")

    def status(self) -> dict[str, Any]:
        return self._get("/status")
