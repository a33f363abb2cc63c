"""Screening versions of datasets for poison: what it found is signed, people judge it, and training waits for their word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import msgspec

from casemate.core import (
    CasemateError,
    ConflictError,
    Digest,
    InputError,
    NotFoundError,
    PolicyError,
    Principal,
    Ref,
    SealedFile,
    digest_of,
    rfc3339,
)
from casemate.registry.dataset_push import SUSPECTS, Aside
from casemate.registry.datasets import Datasets, Exported, writable
from casemate.registry.screening_former import former_of, is_comparable, stated_former
from casemate.registry.screening_records import (
    JUDGED,
    ROW_JUDGED,
    SCREENED,
    SETTINGS,
    RowVerdict,
    ScreeningSettings,
    ScreeningState,
    SettingsRecord,
    Standing,
    VersionVerdict,
    record_of,
    settings_of,
    standing_of,
    verdicts_on_rows,
)
from casemate.registry.screening_statements import keep_statement, open_statement, shortened, signed_report
from casemate.registry.stores import Pen, Stores
from casemate.registry.verification import verified_pusher
from casemate.registry.versions import Version
from casemate.scanning import ConvertedDataset
from casemate.screening import Judged, Quarantine, ScreeningConfig, ScreeningReport

MOST_JUDGED = 1000  # rows in one verdict


class Screen(Protocol):
    """`screening.screen_dataset`."""

    def __call__(
        self,
        parquet: SealedFile,
        *,
        label: str,
        contributor: str | None = None,
        time: str | None = None,
        former: SealedFile | None = None,
        verdicts: bytes = b"",
        set_aside: Sequence[str] = (),
        config: ScreeningConfig | None = None,
    ) -> Quarantine: ...


class Convert(Protocol):
    """`scanning.convert_dataset`."""

    def __call__(self, file: SealedFile, filename: str, *, target: str | None = None) -> ConvertedDataset: ...


class Screenings:
    """The screenings of one project's datasets. Args: required: no version is trained on that was not screened."""

    def __init__(
        self, stores: Stores, datasets: Datasets, pen: Pen, *, screen: Screen, convert: Convert, required: bool = False
    ) -> None:
        self._stores, self._datasets, self._pen = stores, datasets, writable(pen)
        self._screen, self._convert, self._required = screen, convert, required

    def configure(
        self, name: str, settings: ScreeningSettings | None, *, actor: Principal, intent: str
    ) -> dict[str, Any]:
        """Screen what is pushed to a dataset so from now on; None: not at all. Raises: NotFoundError: there is none."""
        self._datasets.find(Ref(name))
        self._pen.commit([self._settings_entry(name, settings, actor)], intent)
        return {"name": name, "screened": settings is not None, **(msgspec.to_builtins(settings) if settings else {})}

    def screen(
        self, ref: Ref, stated: ScreeningSettings | None, *, against: Ref | None = None, actor: Principal, intent: str
    ) -> dict[str, Any]:
        """Screen a version in the sandbox, and say what was found, signed.

        Args: stated: kept for later pushes, where nothing is kept yet. against: the version whose labels are believed;
            None: the last that people approved.
        Returns: name, version, digest, `screening` as `dataset show` has it, `findings`.
        Raises: NotFoundError; VerificationError; InputError `not-screened`: nothing says how. ConflictError
            `other-settings`: something else is kept. InputError, TooLargeError, SandboxError as `screen_dataset`.
        """
        version = self._datasets.find(ref)
        settings = self._settings_for(version, stated)
        with self._screened(version, settings, against) as (found, former):
            report = found.report
        return self._record(version, settings, report, against=former, actor=actor, intent=intent)

    def screen_pushed(self, answer: dict[str, Any], *, actor: Principal, intent: str) -> dict[str, Any]:
        """What a push answers, once its version was screened too, where the dataset keeps how.

        The version is there whatever the screening says; one that could not be screened is `unscreened`, and why.
        """
        name = answer["name"]
        if settings_of(self._stores, name) is None:
            return answer
        ref = Ref(name, answer["version"], self._stores.project)
        try:
            known = standing_of(self._stores, self._datasets.find(ref))
            if not answer["created"] and known.state is not ScreeningState.UNSCREENED:
                return {**answer, "screening": known.summary()}
            found = self.screen(ref, None, actor=actor, intent=intent)
        except CasemateError as error:
            told = {"state": ScreeningState.UNSCREENED.value, "why": error.message, "code": error.code}
            return {**answer, "screening": told}
        return {
            **answer,
            "screening": found["screening"],
            "findings": [*answer.get("findings", ()), *found["findings"]],
        }

    def report(self, ref: Ref) -> dict[str, Any]:
        """All that the last screening of a version said: rows by number and digest, scores, contributors.

        Raises: NotFoundError `not-screened`; VerificationError.
        """
        version, standing = self._standing(ref)
        if standing.screening is None:
            raise NotFoundError(
                f"{version.about.name}@{version.number} was not screened: casemate dataset screen "
                f"{version.about.name}@{version.number}.",
                code="not-screened",
            )
        return {
            "name": version.about.name,
            "version": version.number,
            "digest": version.digest,
            "screening": standing.summary(),
            **self._statement(version, standing)["report"],
        }

    def quarantine(
        self, ref: Ref, *, rules: Sequence[str], widening: bool, actor: Principal, intent: str
    ) -> dict[str, Any]:
        """A new version without the rows that these rules name, which it keeps beside, encrypted apart; then screened.

        Args: rules: empty: all but those that never set rows aside. widening: as for a restored version.
        Raises: InputError `not-screened`, `nothing-suspect`, `screen-rule`; ConflictError `wider-use`; as `screen`.
        """
        version = self._datasets.find(ref)
        settings = self._settings_for(version, None)
        with ExitStack() as closing:
            found, former = closing.enter_context(self._screened(version, settings, None, set_aside=rules))
            if not found.aside:
                raise InputError(
                    f"No row of {version.about.name}@{version.number} is to be set aside"
                    + (f" by {', '.join(rules)}." if rules else "."),
                    code="nothing-suspect",
                )
            schema = self._datasets.read_schema(version)
            target = next((one["name"] for one in schema["columns"] if one["role"] == "target"), None)
            clean = closing.enter_context(self._convert(found.clean, "the clean rows", target=target))
            answer = self._datasets.push_clean(
                version,
                clean,
                Aside(
                    suspects=found.suspects,
                    report=msgspec.json.encode(shortened(found.report)),
                    facts={"aside": found.aside, "rules": list(rules), "against": former},
                    widening=widening,
                ),
                actor=actor,
                intent=intent,
            )
        return {**self.screen_pushed(answer, actor=actor, intent=intent), "aside": answer["aside"]}

    def suspects(self, ref: Ref) -> Exported:
        """The rows that a quarantine set aside to make this version, as Parquet.

        Raises: NotFoundError `no-suspects`; VerificationError.
        """
        return self._datasets.export(ref, path=SUSPECTS)

    def judge(
        self,
        ref: Ref,
        judged: Judged,
        *,
        rule: str = "",
        rows: Sequence[str] = (),
        reason: str,
        actor: Principal,
        intent: str,
        self_judged: bool = False,
    ) -> dict[str, Any]:
        """A person's word on a version, or on rows that a rule named in it, which later screenings learn from.

        Raises: NotFoundError; InputError `not-screened`, `not-named`, `bad-verdict`; VerificationError.
        """
        version, standing = self._standing(ref)
        name = f"{version.about.name}@{version.number}"
        if bool(rule) != bool(rows) or len(rows) > MOST_JUDGED:
            raise InputError(
                f"Name a rule and up to {MOST_JUDGED} rows that it named, or neither, to judge the whole version.",
                code="bad-verdict",
            )
        own = standing.screening is not None and standing.screening.about == version.about
        if not own and (rows or judged is Judged.FINE):
            raise InputError(f"{name} was not screened: casemate dataset screen {name}.", code="not-screened")
        at = rfc3339(self._stores.clock.now())
        entries: list[tuple[str, RowVerdict | VersionVerdict]] = []
        scores = self._scores(version, standing, rule) if rows else {}
        for row in dict.fromkeys(rows):
            if row not in scores:
                raise InputError(
                    f"{rule[:80]} named no row {row[:80]} in {name}: casemate dataset screening {name} lists them.",
                    code="not-named",
                )
            told = RowVerdict(
                about=version.about, rule=rule, row=Digest(row), score=scores[row], judged=judged, by=actor.id,
                reason=reason, at=at,
            )  # fmt: skip
            entries.append((ROW_JUDGED, told))
        if not rows:
            said = VersionVerdict(
                about=version.about, judged=judged, by=actor.id, self_judged=self_judged, reason=reason, at=at
            )
            entries.append((JUDGED, said))
        self._pen.commit([(kind, msgspec.to_builtins(body)) for kind, body in entries], intent)
        return {
            "name": version.about.name,
            "version": version.number,
            "digest": version.digest,
            "judged": judged.value,
            "rule": rule or None,
            "count": len(entries) if rows else None,
            "state": standing_of(self._stores, version).state.value,
        }

    def check_trainable(self, ref: Ref) -> None:
        """Return when a version may be trained on, as far as its screening goes.

        Raises: PolicyError `data-suspect`, `data-not-screened`; NotFoundError; VerificationError.
        """
        version, standing = self._standing(ref)
        name = f"{version.about.name}@{version.number}"
        if standing.state is ScreeningState.SUSPECT:
            high = standing.screening.high if standing.screening else ()
            why = f"a screening found {', '.join(high)}" if high else "a person judged it poisoned"
            raise PolicyError(
                f"{name} is suspect: {why}. Set the rows aside: casemate dataset quarantine {name} --reason WHY; or let a "
                f"person judge them: casemate dataset verdict {name} --judged fine --reason WHY.",
                code="data-suspect",
            )
        kept = settings_of(self._stores, version.about.name) is not None
        if standing.state is ScreeningState.UNSCREENED and (kept or self._required):
            label = "" if kept else " --label COLUMN"
            raise PolicyError(
                f"{name} was not screened: casemate dataset screen {name}{label}.", code="data-not-screened"
            )

    def pusher(self, ref: Ref) -> str:
        """Who pushed it, as signed. Raises: NotFoundError; VerificationError."""
        return verified_pusher(self._stores, self._datasets.find(ref))

    def _standing(self, ref: Ref) -> tuple[Version, Standing]:
        version = self._datasets.find(ref)
        return version, standing_of(self._stores, version)

    def _settings_for(self, version: Version, stated: ScreeningSettings | None) -> ScreeningSettings:
        name, kept = version.about.name, settings_of(self._stores, version.about.name)
        if kept is None and stated is None:
            raise InputError(
                f"Nothing says how {name} is screened: casemate dataset screen {name}@{version.number} --label COLUMN.",
                code="not-screened",
            )
        if kept is not None and stated is not None and stated != kept:
            raise ConflictError(
                f"{name} keeps other settings: leave them out, or have an owner change them: casemate dataset configure "
                f"{name} --label COLUMN.",
                code="other-settings",
            )
        settings = kept or stated
        assert settings is not None
        return settings

    @contextmanager
    def _screened(
        self, version: Version, settings: ScreeningSettings, against: Ref | None, *, set_aside: Sequence[str] = ()
    ) -> Iterator[tuple[Quarantine, int | None]]:
        """What a screening found, and the number of the version that it was compared with."""
        former = stated_former(self._datasets, version, against) if against else former_of(self._stores, version)
        other = former is not None and not against and not is_comparable(self._datasets, version, former, settings)
        with ExitStack() as closing:
            rows = closing.enter_context(self._datasets.open(_exactly(version)))
            compared = None if former is None or other else former
            before = closing.enter_context(self._datasets.open(_exactly(compared))) if compared else None
            verdicts = verdicts_on_rows(self._stores, version.about.name)
            found = closing.enter_context(
                self._screen(
                    rows.parquet,
                    label=settings.label,
                    contributor=settings.contributor or None,
                    time=settings.time or None,
                    former=before.parquet if before else None,
                    verdicts=b"\n".join(msgspec.json.encode(one) for one in verdicts),
                    set_aside=set_aside,
                    config=ScreeningConfig(limit=settings.limit, feedback=settings.feedback),
                )
            )
            if former is not None and other:
                skipped = f"change: {former.about.name}@{former.number}, the last that was approved, has other columns"
                kept = [one for one in found.report.skipped if not one.startswith("change:")]
                report = msgspec.structs.replace(found.report, skipped=(*kept, skipped))
                found = msgspec.structs.replace(found, report=report)
            yield found, compared.number if compared else None

    def _record(
        self,
        version: Version,
        settings: ScreeningSettings,
        report: ScreeningReport,
        *,
        against: int | None,
        actor: Principal,
        intent: str,
    ) -> dict[str, Any]:
        stores, about, now = self._stores, version.about, self._stores.clock.now()
        facts = {"settings": msgspec.to_builtins(settings), "against": against, "by": actor.id}
        envelope = signed_report(self._pen, about, report, facts, at=now)
        record = record_of(
            report,
            about,
            settings,
            statement=digest_of(envelope),
            against=against,
            by=actor.id,
            at=rfc3339(now),
        )
        entries = [(SCREENED, msgspec.to_builtins(record))]
        with self._pen.deciding:  # nobody else keeps other settings, or deletes the version, meanwhile
            if settings_of(stores, about.name) is None:
                entries.insert(0, self._settings_entry(about.name, settings, actor))
            keep_statement(stores, version, envelope)
            self._pen.commit(entries, intent)
        return {
            "name": about.name,
            "version": about.number,
            "digest": about.digest,
            "screening": standing_of(stores, version).summary(),
            "findings": [one.finding for one in report.suspicions],
            "skipped": list(report.skipped),
        }

    def _scores(self, version: Version, standing: Standing, rule: str) -> dict[str, float]:
        found = self._statement(version, standing)["report"]
        report = msgspec.convert(found, ScreeningReport)
        return {
            suspect.digest: suspect.score
            for one in report.suspicions
            if one.finding.id == rule
            for suspect in one.suspects
        }

    def _statement(self, version: Version, standing: Standing) -> dict[str, Any]:
        assert standing.screening is not None
        about = (
            standing.screening.about
        )  # that of the version that it was restored from, where it was not screened since
        if about != version.about:
            version = self._datasets.find(Ref(about.name, about.number, about.project))
        return open_statement(self._stores, version, standing.screening)

    def _settings_entry(
        self, name: str, settings: ScreeningSettings | None, actor: Principal
    ) -> tuple[str, dict[str, Any]]:
        at = rfc3339(self._stores.clock.now())
        record = SettingsRecord(project=self._stores.project, name=name, settings=settings, by=actor.id, at=at)
        return SETTINGS, msgspec.to_builtins(record)


def _exactly(version: Version) -> Ref:
    return Ref(version.about.name, version.number, version.about.project)
