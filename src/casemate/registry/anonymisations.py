"""A dataset's version made anonymous by the home, and its reversible pseudonyms turned back: rows and keys meet in the sandbox alone (ADR 31)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import msgspec

from casemate.core import (
    ConflictError,
    DataClass,
    InputError,
    Principal,
    Ref,
    Verdict,
    checked_name,
    data_class_of,
    digest_of,
    highest_class,
)
from casemate.core.datasheets import Datasheet
from casemate.registry.data_use import ANY, DataUse, anonymous_use
from casemate.registry.dataset_push import Stated, signed_sheet
from casemate.registry.datasets import Datasets, VerifiedDataset
from casemate.registry.pseudonym_keys import PSEUDONYM, REVERSIBLE, HeldKey, HeldKeys, keys_for, open_key
from casemate.registry.revocations import check_not_revoked
from casemate.registry.screenings import Convert, Screenings
from casemate.registry.stores import Stores
from casemate.registry.verification import signed_manifest
from casemate.registry.versions import Version

if TYPE_CHECKING:
    from casemate.privacy import AnonymisationReport, Anonymised, Policy, Reidentified

MAX_POLICY = 1 << 20  # bytes, as `privacy.read_policy` takes them
MOST_VALUES = 100  # pseudonyms in one question; each of a name has some 70 characters, and the head of a request 16 KiB
_FACT = "anonymised"


class AnonymisedFact(msgspec.Struct, frozen=True, kw_only=True):
    """A fact of the manifest, signed. Args: policy: its digest. data_class: of the version that it was made from. domains: of
    each column of reversible pseudonyms. k: of the smallest class, after; None: not measured."""

    policy: str
    data_class: str
    domains: dict[str, str]
    suppressed: int
    k: int | None


class Anonymisations:
    """Of one project's datasets. Args: required: that a datasheet be whole, as at any push. insecure: outside the sandbox."""

    def __init__(
        self,
        stores: Stores,
        datasets: Datasets,
        screenings: Screenings,
        *,
        convert: Convert,
        required: bool = False,
        insecure: bool = False,
    ) -> None:
        self._stores, self._datasets, self._screenings = stores, datasets, screenings
        self._convert, self._required, self._insecure = convert, required, insecure

    def make(
        self,
        ref: Ref,
        name: str,
        policy: bytes,
        *,
        data_class: str = "",
        purposes: Sequence[str] = (),
        widening: bool = False,
        actor: Principal,
        intent: str,
    ) -> dict[str, Any]:
        """A version of the dataset `name`, made of the version `ref` as a policy says; screened, where `name` keeps how.

        Args: policy: TOML. data_class, purposes: as `anonymous_use` takes them. widening: as it tells; the gate has decided so.
        Returns: as a push; `report`: what was done, without a value. REFUSED, and no version, where more is left than
            the policy allows.
        Raises: NotFoundError; InputError `same-name`, and as `privacy.anonymise_dataset`; VerificationError; ConflictError
            `wider-use`, `pseudonym-keys`, `other-source`; TooLargeError; SandboxError.
        """
        from casemate.privacy import read_policy

        if checked_name(name, what="dataset") == ref.name:
            raise InputError(
                "What is made anonymous gets a name of its own, since access goes by name: --as NAME.", code="same-name"
            )
        asked = read_policy(policy)
        version = self._datasets.find(ref)
        check_not_revoked(self._stores, version)
        with ExitStack() as closing:
            source = closing.enter_context(self._datasets.open(Ref(ref.name, version.digest, ref.project)))
            use = self._use(name, source.use, data_class, purposes, widening=widening)
            keys = self._keys(name, source, asked)
            done = closing.enter_context(self._anonymised(source, asked, keys))
            found, report = list(done.report.findings), msgspec.to_builtins(done.report)
            if done.parquet is None:
                return {**_refused(name), "findings": found, "report": report}
            left = {one.name for one in done.report.columns if one.treatment != "drop"}
            table = closing.enter_context(
                self._convert(done.parquet, "the anonymous rows", target=_target(source, left))
            )
            said = Stated(
                data_class=use.data_class.value,
                purposes=use.purposes or ((ANY,) if ANY in purposes else ()),
                widening=widening,
                sheet=self._sheet(name, source, table.schema),
                required=self._required,
                origin=version.about,
                facts={_FACT: msgspec.to_builtins(_fact(source, policy, asked, done.report))},
                keys=keys,
            )
            answer = self._datasets.push_stated(name, table, said, actor=actor, intent=intent)
        if answer["version"] is not None:
            answer = self._screenings.screen_pushed(answer, actor=actor, intent=intent)
        return {**answer, "findings": [*found, *answer["findings"]], "report": report}

    def turn_back(self, ref: Ref, column: str, *, values: Sequence[str] = ()) -> Reidentified:
        """The rows of a version with one column's reversible pseudonyms turned back; with `values`, those that hold one of them.

        That somebody may have them, and that it is on record, is the caller's to see to. Close it.
        Raises: NotFoundError; InputError `no-pseudonym-key`, `personal-column`, `no-such-pseudonym`; VerificationError; SandboxError.
        """
        from casemate.privacy import reidentify_dataset

        if len(values) > MOST_VALUES:
            raise InputError(f"Ask for up to {MOST_VALUES} pseudonyms at once, or for all.", code="too-many-values")
        version = self._datasets.find(ref)
        made = self._fact(version)
        if made is None or column not in made.domains:
            raise InputError(
                f"{version.about.name}@{version.number} has no column {column[:80]!r} of reversible pseudonyms that this home "
                "made; of a file of your own: casemate dataset reidentify FILE --reversible-key KEY.",
                code="no-pseudonym-key",
            )
        key = open_key(self._stores, version, REVERSIBLE)
        with self._datasets.open(Ref(ref.name, version.digest, ref.project)) as source:
            return reidentify_dataset(
                source.parquet,
                column=column,
                domain=made.domains[column],
                key=key,
                values=list(values),
                insecure=self._insecure,
            )

    def class_turned_back(self, ref: Ref) -> DataClass:
        """Of the rows of a version with pseudonyms turned back: as high as what they were made from, and of people in any case.

        Raises: NotFoundError; VerificationError.
        """
        own, made = self._datasets.use_of(ref).data_class, self._fact(self._datasets.find(ref))
        if made is None:
            return own
        return highest_class([own, DataClass.PERSONAL, data_class_of(made.data_class)])

    def _fact(self, version: Version) -> AnonymisedFact | None:
        fact = signed_manifest(self._stores, version).facts.get(_FACT)
        return None if fact is None else msgspec.convert(fact, AnonymisedFact)

    def _use(self, name: str, source: DataUse, data_class: str, purposes: Sequence[str], *, widening: bool) -> DataUse:
        use, wider = anonymous_use(source, self._datasets.use_of_newest(name), data_class, purposes)
        if wider and not widening:
            raise ConflictError(f"The newest version of {name} has changed: make it anonymous again.", code="wider-use")
        return use

    def _keys(self, name: str, source: VerifiedDataset, policy: Policy) -> dict[str, HeldKey]:
        needs = {PSEUDONYM: policy.needs_key, REVERSIBLE: policy.needs_reversible_key}
        needed = [file for file, is_needed in needs.items() if is_needed]
        return keys_for(self._stores, name, needed, source=source.about.name)

    def _anonymised(self, source: VerifiedDataset, policy: Policy, held: HeldKeys) -> Anonymised:
        from casemate.privacy import Keys, anonymise_dataset

        secrets = {file: key.secret for file, key in held.items()}
        keys = Keys(pseudonym=secrets.get(PSEUDONYM, b""), reversible=secrets.get(REVERSIBLE, b""))
        return anonymise_dataset(source.parquet, policy, keys=keys, insecure=self._insecure)

    def _sheet(self, name: str, source: VerifiedDataset, schema: dict[str, Any]) -> Datasheet | None:
        """The source's answers about what is left; None where the dataset has answers of its own."""
        if self._datasets.use_of_newest(name) is not None:
            return None
        about = source.about
        sheet = signed_sheet(self._stores, self._datasets.find(Ref(about.name, about.digest, about.project)))
        left = {column["name"] for column in schema["columns"]}
        if sheet is None:
            return None
        return msgspec.structs.replace(
            sheet, columns={column: why for column, why in sheet.columns.items() if column in left}
        )


def _fact(source: VerifiedDataset, policy: bytes, asked: Policy, report: AnonymisationReport) -> AnonymisedFact:
    return AnonymisedFact(
        policy=digest_of(policy),
        data_class=source.use.data_class.value,
        domains=_reversible(asked, source),
        suppressed=report.suppressed,
        k=report.after.k if report.after else None,
    )


def _refused(name: str) -> dict[str, Any]:
    nothing = {"version": None, "digest": None, "created": False, "stored": 0}
    return {"verdict": Verdict.REFUSED, "name": name, **nothing}


def _target(source: VerifiedDataset, columns: set[str]) -> str | None:
    """The column to be predicted, where it is left."""
    return next(
        (one["name"] for one in source.schema["columns"] if one["role"] == "target" and one["name"] in columns), None
    )


def _reversible(policy: Policy, source: VerifiedDataset) -> dict[str, str]:
    """{column: domain} of what can be turned back."""
    named = {column["name"] for column in source.schema["columns"]}
    return {
        name: rule.domain or name
        for name, rule in policy.columns.items()
        if rule.treatment == "reversible" and name in named
    }
