"""Fingerprints of models: made behind the walls, kept by nobody but who asked, with their digest on record before any dispute."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from typing import Any, Literal, Protocol

import msgspec

from casemate.core import Digest, Principal, Ref, SealedFile, digest_of, rfc3339
from casemate.evaluation.claims import Calibration, Claim, Fingerprint, claim_of, read_fingerprint, seed_of
from casemate.registry.datasets import Datasets, writable
from casemate.registry.models import Models
from casemate.registry.stores import Pen, Stores, unreadable
from casemate.signing import VerifiedModel, VersionIdentity
from casemate.storage import LedgerEntry

FINGERPRINTED = "fingerprint"


class FingerprintRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A ledger body: a fingerprint with this digest was made of this version, then. Nothing of what it asks is here."""

    about: VersionIdentity
    fingerprint: Digest
    questions: int
    by: str
    at: str
    schema: Literal[1] = 1


class Choose(Protocol):
    """Chooses questions behind the walls: `app.evaluation.choose`. Returns them with the name and type of the model's input."""

    def __call__(
        self, model: VerifiedModel, parquet: SealedFile, *, label: str, count: int, seed: int
    ) -> tuple[dict[str, Any], Calibration]: ...


class Answer(Protocol):
    """A version's classes for rows, by name: `app.evaluation.classes_for`."""

    def __call__(self, model: VerifiedModel, rows: tuple[tuple[float, ...], ...]) -> list[str]: ...


class Fingerprints:
    """The fingerprints of one project's models."""

    def __init__(
        self, stores: Stores, datasets: Datasets, models: Models, pen: Pen, *, choose: Choose, answer: Answer
    ) -> None:
        self._stores, self._datasets, self._models, self._pen = stores, datasets, models, writable(pen)
        self._choose, self._answer = choose, answer

    def make(self, ref: Ref, *, on: Ref, label: str, count: int, actor: Principal, intent: str) -> dict[str, Any]:
        """Questions that a secret chose, with the version's answers. The file is told once and kept nowhere; its digest is on record.

        Returns: name, version, digest, `fingerprint` (digest of the document), `document`: the file, as text.
        Raises: NotFoundError; VerificationError; InputError as `choose_questions`.
        """
        version = self._models.find(ref)
        key = secrets.token_bytes(32)
        with ExitStack() as closing:
            model = closing.enter_context(self._models.load_version(version))
            rows = closing.enter_context(self._datasets.open(on))
            seed = seed_of(key, version.digest)
            said, calibration = self._choose(model, rows.parquet, label=label, count=count, seed=seed)
        at = rfc3339(self._stores.clock.now())
        document = msgspec.json.encode(
            Fingerprint(
                kind="casemate-fingerprint",
                model=f"{version.about.name}@{version.number}",
                digest=version.digest,
                key=key.hex(),
                calibration=calibration,
                made_by=actor.id,
                made_at=at,
                **said,
            )
        )
        digest = digest_of(document)
        questions = len(said["queries"])
        record = FingerprintRecord(about=version.about, fingerprint=digest, questions=questions, by=actor.id, at=at)
        self._pen.commit([(FINGERPRINTED, msgspec.to_builtins(record))], intent)
        return {
            "name": version.about.name,
            "version": version.number,
            "digest": version.digest,
            "fingerprint": digest,
            "questions": questions,
            "document": document.decode(),
        }

    def claim(self, ref: Ref, document: bytes, *, at_most: float) -> dict[str, Any]:
        """What a fingerprint says of a version of ours. Raises: NotFoundError; VerificationError; InputError `bad-fingerprint`."""
        known = read_fingerprint(document)
        version = self._models.find(ref)
        with self._models.load_version(version) as model:
            answers = self._answer(model, known.queries)
        claim = claim_of(known, document, answers, at_most=at_most)
        return {"against": f"{version.about.name}@{version.number}", **self.recorded(claim)}

    def recorded(self, claim: Claim) -> dict[str, Any]:
        """A claim, with since when the fingerprint is on record here; None: it is not."""
        found: dict[Digest, str] = self._stores.folded(FINGERPRINTED, {}, _fold)
        return {**msgspec.to_builtins(claim), "on_record": found.get(claim.fingerprint)}


def _fold(last: dict[Digest, str], entries: list[LedgerEntry]) -> dict[Digest, str]:
    found = dict(last)
    for entry in entries:
        try:
            record = msgspec.convert(entry.body, FingerprintRecord)
        except msgspec.ValidationError as error:
            raise unreadable(entry.kind, entry.number) from error
        found.setdefault(record.fingerprint, entry.at)
    return found
