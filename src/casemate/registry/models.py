"""The models of a project: pushed, shown, loaded as signed, approved, deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from casemate.core import (
    AssetKind,
    ConflictError,
    Environment,
    Principal,
    Ref,
    SealedFile,
)
from casemate.registry.approval_words import ApprovalWords, approval_words
from casemate.registry.approvals import APPROVAL, approvals_of, signed_approval
from casemate.registry.bom import bom_of, signed_bom
from casemate.registry.cards import Described, card_entry, card_of, is_complete
from casemate.registry.conversion_statements import conversion_shown
from casemate.registry.data_use import DataUse, signed_use
from casemate.registry.datasets import writable
from casemate.registry.deployments_state import deployments_of
from casemate.registry.evaluation_records import evaluation_standing
from casemate.registry.features import without_ranges
from casemate.registry.lineage import lineage_tree, provenance_of
from casemate.registry.model_push import Describe, Eyes, Made, Pushed, Scan, Streams, push_model
from casemate.registry.releases import record_deletion, remove_version
from casemate.registry.revocations import check_not_revoked, is_revoked
from casemate.registry.stores import Pen, Stores
from casemate.registry.verification import Released, is_released, newest_of, verified_pusher, verify_report
from casemate.registry.versions import Version, blobs_of, find_version, latest_versions, signed_version
from casemate.signing import StoredModel, VerifiedModel, verify_model


class Models:
    """The models of one project. Args: pen, scan, describe: None where nothing may be pushed."""

    def __init__(
        self, stores: Stores, pen: Pen | None = None, *, scan: Scan | None = None, describe: Describe | None = None
    ) -> None:
        self._stores, self._pen = stores, pen
        self._eyes = Eyes(scan=scan, describe=describe) if scan and describe else None

    def push(self, name: str, files: Streams, made: Made | None = None, *, actor: Principal, intent: str) -> Pushed:
        """As `push_model`. Args: made: None: nobody says how it was made."""
        if self._eyes is None:
            raise TypeError("built without scan and describe: it takes no push")
        pen = writable(self._pen)
        return push_model(self._stores, pen, self._eyes, name, files, made=made or Made(), actor=actor, intent=intent)

    def find(self, ref: Ref) -> Version:
        """Raises: NotFoundError."""
        return find_version(self._stores, AssetKind.MODEL, ref)

    def use_of(self, ref: Ref) -> DataUse:
        """The class and purposes of what it was made from, as signed. Raises: NotFoundError; VerificationError."""
        return signed_use(self._stores, self.find(ref))

    def pusher(self, ref: Ref) -> str:
        """Who pushed it, as signed. Raises: NotFoundError; VerificationError."""
        return verified_pusher(self._stores, self.find(ref))

    def newest(self) -> list[dict[str, Any]]:
        """The newest version of each model, and whether a trusted signer released it (`verified`)."""
        return newest_of(self._stores, AssetKind.MODEL)

    def count(self) -> int:
        """How many there are."""
        return len(latest_versions(self._stores, AssetKind.MODEL))

    def show(self, ref: Ref) -> dict[str, Any]:
        """One version: its row, format, signature (never a value of the training data), files, approvals."""
        version = self.find(ref)
        manifest = version.read_manifest()
        return {
            **version.summary(),
            "verified": is_released(self._stores, version),
            **{name: fact for name, fact in manifest.facts.items() if name != "environment"},
            "provenance": provenance_of(manifest.lineage),
            "conversion": conversion_shown(self._stores, version),
            "card": {"complete": is_complete(self._stores, version)},
            "evaluation": evaluation_standing(self._stores, version).summary(),
            "signature": msgspec.to_builtins(without_ranges(manifest.signature) if manifest.signature else None),
            "files": msgspec.to_builtins(manifest.files),
            "approvals": [approval.summary() for approval in approvals_of(self._stores, version)],
            "revoked": is_revoked(self._stores, version),
        }

    def card(self, ref: Ref) -> dict[str, Any]:
        """As `card_of`. Raises: NotFoundError; VerificationError."""
        return card_of(self._stores, self.find(ref))

    def is_described(self, ref: Ref) -> bool:
        """Whether people have said all that a card needs. Raises: NotFoundError; VerificationError."""
        return is_complete(self._stores, self.find(ref))

    def write_card(self, ref: Ref, described: Described, *, actor: Principal, intent: str) -> dict[str, Any]:
        """What people say of a version, from here on. Raises: NotFoundError."""
        version = self.find(ref)
        writable(self._pen).commit([card_entry(self._stores, version, described, actor=actor)], intent)
        return {"name": version.about.name, "version": version.number, "missing": list(described.missing)}

    def bom(self, ref: Ref, *, signed: bool = False) -> dict[str, Any]:
        """`{"bom"}`: its bill of materials, and signed: `envelope`, that document in a signed statement about the version.

        Raises: NotFoundError; VerificationError.
        """
        card = self.card(ref)
        bom = bom_of(card, at=self._stores.clock.now())
        return {"bom": bom, **({"envelope": signed_bom(bom, card, pen=writable(self._pen))} if signed else {})}

    def open_stored(self, version: Version) -> StoredModel:
        """A version's record, and its files decrypted once into sealed memory; nothing of it is verified yet.

        Raises: VerificationError: a file is missing or altered.
        """
        files: dict[str, SealedFile] = {}
        try:
            for path, pieces in blobs_of(self._stores, version).items():
                files[path] = self._stores.blobs.seal_file(pieces)
            return StoredModel(version=signed_version(self._stores, version), files=files)
        except BaseException:
            for file in files.values():
                file.close()
            raise

    def load(self, ref: Ref) -> VerifiedModel:
        """The sealed files of a version, every byte as trusted signers signed it. The caller closes it.

        Raises: NotFoundError; VerificationError: `revoked`, or with the codes of `signing.verify_model`.
        """
        return self.load_version(self.find(ref))

    def load_version(self, version: Version) -> VerifiedModel:
        """As `load`, of a version that was found before. Raises: VerificationError."""
        check_not_revoked(self._stores, version)
        return verify_model(self.open_stored(version), self._stores.trust(), at=self._stores.clock.now())

    def export(self, ref: Ref) -> Iterator[tuple[str, int, Iterator[bytes]]]:
        """(path, size, chunks) of each file, verified before the first is handed on."""
        return _handing_on(self.load(ref))

    def lineage(self, ref: Ref) -> dict[str, Any]:
        """What it was made from, as a tree. Raises: NotFoundError."""
        return lineage_tree(self._stores, ref)

    def verify(self, ref: Ref | None = None, *, recorded: Released = frozenset()) -> dict[str, Any]:
        """Read every stored byte of a version, or of all: `{"ok", "checked", "problems"}`. `recorded` must be there."""
        return verify_report(self._stores, AssetKind.MODEL, self.find(ref) if ref else None, recorded)

    def approve(
        self,
        ref: Ref,
        environment: Environment,
        *,
        actor: Principal,
        intent: str,
        reason: str = "",
        self_approved: bool = False,
        own: str = "",
    ) -> dict[str, Any]:
        """Say, signed, that a version may be deployed to `environment`.

        Args: self_approved: the gate counts the actor as who pushed it, under whatever id. own: an envelope around
            what `approval_words` gave, signed by the actor's own pinned key or passkey.
        Raises: NotFoundError; as `signed_approval`.
        """
        pen, version = writable(self._pen), self.find(ref)
        alone = self_approved or verified_pusher(self._stores, version) == actor.id
        approval = signed_approval(
            self._stores, pen, version, environment, approver=actor.id, alone=alone, reason=reason, own=own
        )
        pen.commit([(APPROVAL, msgspec.to_builtins(approval))], intent)
        return approval.summary()

    def approval_words(self, ref: Ref, environment: Environment, *, approver: Principal) -> ApprovalWords:
        """What `approver` would sign to approve a version, and how many have. Raises: NotFoundError; VerificationError."""
        return approval_words(self._stores, self.find(ref), environment, approver.id)

    def delete(self, ref: Ref, *, intent: str) -> dict[str, Any]:
        """Destroy a version's keys and files.

        Raises: ConflictError: `in-use`, naming deployments that serve it; `switching`: one that would return to it if
            the switch under way failed. StorageError `deletion-unfinished`.
        """
        pen = writable(self._pen)
        with pen.deciding:  # so that nothing deploys it meanwhile; once its end is on record, nothing can
            version = find_version(self._stores, AssetKind.MODEL, ref, deleted=True)
            serving = [d.name for d in deployments_of(self._stores).values() if d.digest == version.digest]
            if serving:
                raise ConflictError(
                    f"{version.about.name}@{version.number} is what {', '.join(serving)} serves: deploy another first.",
                    code="in-use",
                )
            leaving = sorted(name for name, held in pen.switching.items() if version.digest in held)
            if leaving:
                raise ConflictError(
                    f"{', '.join(leaving)} is being switched and may yet return to "
                    f"{version.about.name}@{version.number}: delete it once that is done.",
                    code="switching",
                )
            record_deletion(self._stores, pen, version, intent=intent)
        left = remove_version(self._stores, version, intent=intent)
        return {"name": version.about.name, "version": version.number, "state": "deleted", **left}


def _handing_on(model: VerifiedModel) -> Iterator[tuple[str, int, Iterator[bytes]]]:
    with model:
        for path, file in sorted(model.files.items()):
            yield path, file.size, file.chunks()
