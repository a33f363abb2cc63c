"""A fingerprint, and what a suspect's answers to it are worth.

A copy answers the fingerprint's questions as the model did; a model that somebody trained themselves answers many of them
otherwise. How many of those agree by chance was measured on reference models when the fingerprint was made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from casemate.core import Digest, InputError, digest_of

MOST_BYTES = 32 << 20  # of a fingerprint's file
AT_MOST = 1e-6  # false claims; below, a suspect is called a copy


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Args: references: how many of the questions each held-out reference model answered as the model did. families: of these.
    chance: of one such answer, the upper end of 99 % confidence for the reference that agreed most."""

    references: tuple[int, ...]
    families: tuple[str, ...]
    chance: float


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Args: key: hex of the secret that chose the questions. queries: rows of numbers; answers: the class of each, by its name."""

    kind: str
    model: str
    digest: Digest
    key: str
    input: str
    datatype: str
    features: tuple[str, ...]
    classes: tuple[str, ...]
    queries: tuple[tuple[float, ...], ...]
    answers: tuple[str, ...]
    calibration: Calibration
    made_by: str
    made_at: str
    schema: int = 1


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Args: agree, of: questions. chance: that one is agreed on by chance. false_claim: probability that a model that is no
    copy agrees on as many. copy: whether that is at most `at_most`. closest_reference: share that the closest of the reference models agreed on."""

    model: str
    digest: Digest
    fingerprint: Digest
    agree: int
    of: int
    chance: float
    false_claim: float
    at_most: float
    copy: bool
    closest_reference: float
    references: int


def read_fingerprint(data: bytes) -> Fingerprint:
    """Raises: InputError `bad-fingerprint`."""
    try:
        if len(data) > MOST_BYTES:
            raise ValueError("too large")
        found = msgspec.json.decode(data, type=Fingerprint)
        widths = {len(row) for row in found.queries}
        if found.kind != "casemate-fingerprint" or found.schema != 1 or len(widths) != 1 or 0 in widths:
            raise ValueError("no fingerprint")
        if len(found.queries) != len(found.answers) or not 0 < found.calibration.chance < 1:
            raise ValueError("no fingerprint")
        if not set(found.answers) <= set(found.classes) or not found.calibration.references:
            raise ValueError("no fingerprint")
    except (ValueError, msgspec.DecodeError) as error:
        raise InputError(
            "This is no fingerprint: make one with casemate model fingerprint NAME@VERSION --on DATASET --out FILE.",
            code="bad-fingerprint",
        ) from error
    return found


def claim_of(fingerprint: Fingerprint, data: bytes, answers: Sequence[str], *, at_most: float = AT_MOST) -> Claim:
    """What a suspect's answers are worth. Args: data: the file of the fingerprint. answers: a class for each question, in order.

    The probability is a binomial tail at `chance`: exact if the answers of a model that is no copy were independent of each other,
    and each agreed no oftener than those of the closest reference. Source: as ownership tests of Maini 2021, arXiv 2104.10706.
    Raises: InputError `bad-predictions`: another number of answers.
    """
    from scipy import stats

    if len(answers) != len(fingerprint.answers):
        raise InputError(
            f"There are {len(answers)} answers, and the fingerprint has {len(fingerprint.answers)} questions: give one for "
            "each, in order (casemate model claim FILE --queries OUT.csv writes them).",
            code="bad-predictions",
        )
    said = _as_named(fingerprint.classes, answers)
    agree = sum(one == other for one, other in zip(said, fingerprint.answers, strict=True))
    count, known = len(said), fingerprint.calibration
    false_claim = float(stats.binom.sf(agree - 1, count, known.chance))
    return Claim(
        model=fingerprint.model,
        digest=fingerprint.digest,
        fingerprint=digest_of(data),
        agree=agree,
        of=count,
        chance=known.chance,
        false_claim=false_claim,
        at_most=at_most,
        copy=false_claim <= at_most,
        closest_reference=max(known.references) / count,
        references=len(known.references),
    )


def seed_of(key: bytes, digest: str) -> int:
    """What draws the questions: nobody without the key can tell them, or make a model answer just these."""
    return int.from_bytes(hashlib.blake2b(digest.encode(), key=key, digest_size=16).digest())


def _as_named(classes: tuple[str, ...], answers: Sequence[str]) -> list[str]:
    """A suspect that numbers the classes from 0 means them in order."""
    said = set(answers)
    if said & set(classes) or not said <= {str(place) for place in range(len(classes))}:
        return list(answers)
    return [classes[int(one)] for one in answers]
