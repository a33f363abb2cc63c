"""All detectors over one table: what each says, as findings with rows, scores, reasons and contributors."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from casemate.core import Digest, verdict_of
from casemate.scanning.rules import Rule
from casemate.screening import rules
from casemate.screening.clusters import near_duplicates, outlier_scores
from casemate.screening.columns import Bools, Floats, Rows
from casemate.screening.former import Change, beyond_feedback, change, over_limit, slow_drift
from casemate.screening.gatherings import Gathering, by_contributor, by_time, targeted_flips
from casemate.screening.labels import label_errors
from casemate.screening.large import Detected
from casemate.screening.report import LISTED, ScreeningConfig, ScreeningReport, Suspect, Suspicion
from casemate.screening.triggers import find_triggers
from casemate.screening.verdicts import HumanVerdict, called_fine, learned, row_digests


class Screened(msgspec.Struct, frozen=True, kw_only=True):
    """Args: report: for people and records. named: {rule id: bool (n,)}, every row that a rule named, for a quarantine."""

    report: ScreeningReport
    named: dict[str, Bools]


def screen(
    rows: Rows,
    *,
    former: Rows | None = None,
    config: ScreeningConfig | None = None,
    verdicts: Sequence[HumanVerdict] = (),
) -> Screened:
    """Screen labelled rows for poison and errors. Deterministic for the same rows, former version, verdicts and seed.

    Args: former: the last version that a person approved. verdicts: what people said of suspects before.
    Raises: InputError `screen-former`.
    """
    config = config or ScreeningConfig()
    drifted, height = slow_drift(rows, seed=config.seed)
    detected = Detected(
        rows=rows,
        errors=label_errors(rows, seed=config.seed),
        trigger=find_triggers(rows, seed=config.seed).score,
        odd=outlier_scores(rows, seed=config.seed),
        clusters=near_duplicates(rows, least=config.duplicates),
        drifted=drifted,
        height=height,
    )
    since = None if former is None else change(rows, former, seed=config.seed)
    return told(detected, since=since, config=config, verdicts=verdicts)


def told(
    detected: Detected,
    *,
    since: Change | None = None,
    config: ScreeningConfig,
    verdicts: Sequence[HumanVerdict] = (),
) -> Screened:
    """Findings of what the detectors say. Args: since: what changed since the former version, where one was given."""
    rows, errors = detected.rows, detected.errors
    found = _Found(rows, config, verdicts)
    wrong = errors.likely > found.thresholds[rules.LABEL_ERROR.id]
    found.add(
        rules.LABEL_ERROR, wrong, errors.likely, "{count} rows; models that never saw them think of another class"
    )
    for one in targeted_flips(rows, errors, wrong):
        found.add(rules.TARGETED_FLIP, one.rows, errors.likely, _told(one))
    stamped = detected.trigger > found.thresholds[rules.BACKDOOR_TRIGGER.id]
    if stamped.sum() >= config.trigger_rows:
        found.add(
            rules.BACKDOOR_TRIGGER,
            stamped,
            detected.trigger,
            "{count} rows, most of them labelled " + _main_class(rows, stamped),
        )
    for one in by_contributor(rows, wrong):
        found.add(rules.CONTRIBUTOR_DISAGREES, one.rows, errors.likely, _told(one))
    for one in by_time(rows, wrong):
        found.add(rules.TIME_DISAGREES, one.rows, errors.likely, _told(one))
    for name, mine in over_limit(rows, share=config.limit):
        found.add(
            rules.CONTRIBUTOR_OVER_LIMIT, mine, np.ones(len(rows)),
            f"contributor {name[:80]!r} gave {{count}} of {len(rows)} rows; {config.limit:.0%} is the limit", sets_aside=False,
        )  # fmt: skip
    if config.feedback:
        beyond = beyond_feedback(rows, most=config.feedback)
        found.add(
            rules.FEEDBACK_OVER_LIMIT, beyond, np.ones(len(rows)),
            f"{{count}} rows beyond {config.feedback} of one contributor, by {_givers(rows, beyond)}",
        )  # fmt: skip
    found.add(
        rules.SLOW_FEEDBACK,
        detected.drifted,
        errors.likely,
        f"{{count}} rows; the sum reached {detected.height:.1f} times the alarm",
    )
    _repeated_and_odd(detected, found)
    if rows.unread is not None:
        found.add(
            rules.UNREAD_IMAGE,
            rows.unread,
            np.ones(len(rows)),
            "{count} rows, with an image that is broken or too large",
        )
    if since is not None:
        _changed(rows, since, found)
    return found.screened(since is None)


def _repeated_and_odd(detected: Detected, found: _Found) -> None:
    clusters, odd = detected.clusters, detected.odd
    sizes = np.bincount(clusters, minlength=1)[clusters].astype(np.float64)
    copies = clusters > 0
    found.add(
        rules.NEAR_DUPLICATES,
        copies,
        sizes,
        f"{{count}} rows in {len(np.unique(clusters[copies]))} clusters",
        sets_aside=False,
    )
    found.add(rules.OUTLIERS, odd > found.thresholds[rules.OUTLIERS.id], odd, "{count} rows", sets_aside=False)


def _changed(rows: Rows, since: Change, found: _Found) -> None:
    ones = np.ones(len(rows))
    said = f"{{count}} of {len(rows)} rows; {int(since.added.sum())} are new and {since.removed} are gone"
    found.add(rules.RELABELLED, since.relabelled, ones, said)
    found.add(rules.AGAINST_FORMER, since.against, ones, f"{{count}} of {int(since.added.sum())} new rows")


def _told(one: Gathering) -> str:
    return (
        f"{one.what}: {one.hits} likely errors in {one.tries} rows, above {one.bound:.1%} with 99 % confidence; "
        f"{one.usual:.1%} elsewhere"
    ).replace("{", "(").replace("}", ")")  # fmt: skip


def _givers(rows: Rows, named: Bools) -> str:
    """Who gave these rows, the first of them by name."""
    assert rows.contributors is not None
    counts = np.bincount(rows.contributors[named], minlength=len(rows.names))
    first = [f"{rows.names[c][:80]!r}" for c in np.argsort(-counts, kind="stable")[:3] if counts[c]]
    more = int((counts > 0).sum()) - len(first)
    return (", ".join(first) + (f" and {more} more" if more else "")).replace("{", "(").replace("}", ")")


def _main_class(rows: Rows, chosen: Bools) -> str:
    label = int(np.bincount(rows.labels[chosen]).argmax())
    return f"{rows.classes[label][:80]!r}".replace("{", "(").replace("}", ")")


class _Found:
    """Findings as they come; a row that a person called fine is in none."""

    def __init__(self, rows: Rows, config: ScreeningConfig, verdicts: Sequence[HumanVerdict]) -> None:
        self._rows, self._verdicts = rows, verdicts
        self.thresholds = {
            rules.LABEL_ERROR.id: learned(config.label_error, rules.LABEL_ERROR.id, verdicts),
            rules.BACKDOOR_TRIGGER.id: learned(config.trigger, rules.BACKDOOR_TRIGGER.id, verdicts),
            rules.OUTLIERS.id: learned(config.outlier, rules.OUTLIERS.id, verdicts),
        }
        self._suspicions: list[Suspicion] = []
        self._named: dict[str, Bools] = {}

    def add(self, rule: Rule, named: Bools, scores: Floats, said: str, *, sets_aside: bool = True) -> None:
        named = named & ~called_fine(self._rows, rule.id, named, self._verdicts)
        places = np.flatnonzero(named)
        if not len(places):
            return
        if sets_aside:
            self._named[rule.id] = self._named.get(rule.id, np.zeros(len(named), bool)) | named
        order = places[np.argsort(-scores[places], kind="stable")][:LISTED]
        finding = rule.found(
            said.format(count=len(places)), confidence=round(float(np.clip(scores[places].mean(), 0, 1)), 3)
        )
        self._suspicions.append(
            Suspicion(
                finding=finding,
                count=len(places),
                suspects=tuple(
                    self._suspect(int(p), float(scores[p]), digest)
                    for p, digest in zip(order, row_digests(self._rows, order), strict=True)
                ),
            )
        )

    def _suspect(self, place: int, score: float, digest: Digest) -> Suspect:
        rows = self._rows
        who = "" if rows.contributors is None else rows.names[rows.contributors[place]][:80]
        return Suspect(row=place, score=round(score, 4), digest=digest, contributor=who)

    def screened(self, alone: bool) -> Screened:  # noqa: FBT001 said once, by name, above
        rows, skipped = self._rows, list[str]()
        if rows.contributors is None:
            skipped.append("contributors: no column names them (--contributor)")
        if rows.times is None:
            skipped.append("time: no column says it (--time)")
        if alone:
            skipped.append("change: no former version was given (--against)")
        return Screened(
            report=ScreeningReport(
                verdict=verdict_of([one.finding for one in self._suspicions]),
                rows=len(rows),
                suspicions=tuple(self._suspicions),
                thresholds=self.thresholds,
                skipped=tuple(skipped),
            ),
            named=self._named,
        )
