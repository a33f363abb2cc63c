"""Screenings of versions: what is on record, who may train, what a verdict and a quarantine do. What the detectors find is
the screening's own tests' business; here they find what a test says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from registry_house import ANA, BEN, House, push_model, table
from sqlalchemy import delete, select, update

from casemate.core import (
    ConflictError,
    Environment,
    InputError,
    NotFoundError,
    PolicyError,
    Ref,
    SealedFile,
    Severity,
    VerificationError,
    seal_bytes,
    verdict_of,
)
from casemate.registry import Lineage, Screenings, ScreeningSettings, took_effect
from casemate.registry.screening_records import verdicts_on_rows
from casemate.scanning import convert_dataset
from casemate.scanning.rules import Rule
from casemate.screening import Judged, Quarantine, ScreeningReport, Suspect, Suspicion, read_verdicts
from casemate.storage.database import attestations, versions

HOW = ScreeningSettings(label="label")
HIGH = Rule(id="targeted-flip", title="t", severity=Severity.HIGH, remediation="r", references=())
LOW = Rule(id="outliers", title="t", severity=Severity.LOW, remediation="r", references=())
ROW = "sha256:" + "a" * 64


class Detectors:
    """Finds what it is told to find, and remembers what it was asked."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.asked: list[dict] = []

    def __call__(self, parquet: SealedFile, *, set_aside: Sequence[str] = (), former=None, **asked) -> Quarantine:
        self.asked.append({**asked, "former": former is not None, "set_aside": tuple(set_aside)})
        rows = pq.read_table(pa.BufferReader(parquet.read()))
        named = [rule for rule in self.rules if not set_aside or rule.id in set_aside]
        aside = 1 if named else 0
        suspects = (Suspect(row=0, score=0.9, digest=ROW, contributor="eve"),)
        found = [Suspicion(finding=rule.found("one row"), count=1, suspects=suspects) for rule in self.rules]
        report = ScreeningReport(
            verdict=verdict_of([one.finding for one in found]),
            rows=rows.num_rows,
            suspicions=tuple(found),
            thresholds={},
        )
        return Quarantine(
            report=report, clean=sealed(rows.slice(aside)), suspects=sealed(rows.slice(0, aside)), aside=aside
        )


def sealed(rows: pa.Table) -> SealedFile:
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    return seal_bytes([sink.getvalue().to_pybytes()])


@pytest.fixture
def detectors() -> Detectors:
    return Detectors()


@pytest.fixture
def screenings(house: House, detectors: Detectors) -> Screenings:
    return Screenings(house.stores, house.datasets, house.pen, screen=detectors, convert=convert_dataset)


def push(house: House, rows: int = 4, *, actor=ANA) -> dict:
    with table(rows) as made:
        return house.datasets.push("loans", made, actor=actor, intent=f"evt_{rows}")


def state(house: House, version: int) -> str:
    return house.datasets.show(Ref("loans", version))["screening"]["state"]


def refusal(screenings: Screenings, version: int) -> str:
    with pytest.raises(PolicyError) as refused:
        screenings.check_trainable(Ref("loans", version))
    return refused.value.code


def test_a_high_finding_bars_training_until_a_person_says_fine(house, screenings, detectors) -> None:
    push(house)
    screenings.check_trainable(Ref("loans"))
    detectors.rules = [HIGH, LOW]
    told = screenings.screen(Ref("loans"), HOW, actor=ANA, intent="evt_s")
    assert told["screening"]["state"] == state(house, 1) == "suspect"
    assert (told["screening"]["rules"], told["screening"]["high"]) == (
        {"targeted-flip": 1, "outliers": 1},
        ["targeted-flip"],
    )
    assert took_effect(house.stores, "evt_s")
    assert refusal(screenings, 1) == "data-suspect"
    screenings.judge(Ref("loans", 1), Judged.FINE, reason="looked", actor=BEN, intent="evt_j")
    assert state(house, 1) == "approved"
    screenings.check_trainable(Ref("loans", 1))
    screenings.screen(Ref("loans", 1), None, actor=ANA, intent="evt_again")  # found anew, after the word
    assert state(house, 1) == "suspect"
    detectors.rules = []
    screenings.judge(Ref("loans", 1), Judged.POISONED, reason="no", actor=BEN, intent="evt_k")
    screenings.screen(Ref("loans", 1), None, actor=ANA, intent="evt_s2")
    assert state(house, 1) == "suspect", "no screening takes back what a person said"


def test_the_first_screening_says_how_later_pushes_are_screened(house, screenings, detectors) -> None:
    with pytest.raises(InputError, match="--label"):
        push(house)
        screenings.screen(Ref("loans"), None, actor=ANA, intent="evt_0")
    screenings.screen(Ref("loans"), HOW, actor=ANA, intent="evt_1")
    detectors.rules = [HIGH]
    pushed = screenings.screen_pushed(push(house, 5), actor=ANA, intent="evt_5")
    assert pushed["screening"]["state"] == state(house, 2) == "suspect"
    assert [one.id for one in pushed["findings"]] == ["targeted-flip"]
    asked = len(detectors.asked)
    again = screenings.screen_pushed(push(house, 5), actor=ANA, intent="evt_6")
    assert (again["screening"]["state"], len(detectors.asked)) == ("suspect", asked), "the same content is known"
    with pytest.raises(ConflictError) as refused:
        screenings.screen(Ref("loans"), ScreeningSettings(label="area"), actor=ANA, intent="evt_7")
    assert refused.value.code == "other-settings"
    screenings.configure("loans", None, actor=ANA, intent="evt_8")
    assert "screening" not in screenings.screen_pushed(push(house, 6), actor=ANA, intent="evt_9")


def test_what_could_not_be_screened_is_kept_and_barred(house, screenings, detectors, monkeypatch) -> None:
    push(house)
    screenings.screen(Ref("loans"), HOW, actor=ANA, intent="evt_1")

    def refuses(*_: object, **__: object) -> None:
        raise InputError("There is no column 'label' for the label.", code="screen-column")

    monkeypatch.setattr(screenings, "_screen", refuses)
    pushed = screenings.screen_pushed(push(house, 5), actor=ANA, intent="evt_5")
    assert (pushed["screening"]["state"], pushed["screening"]["code"]) == ("unscreened", "screen-column")
    assert refusal(screenings, 2) == "data-not-screened"


def test_a_home_may_ask_for_a_screening_of_everything(house, detectors) -> None:
    push(house)
    strict = Screenings(
        house.stores, house.datasets, house.pen, screen=detectors, convert=convert_dataset, required=True
    )
    assert refusal(strict, 1) == "data-not-screened"


def test_restoring_a_suspect_version_clears_nothing(house, screenings, detectors) -> None:
    push(house)
    detectors.rules = [HIGH]
    screenings.screen(Ref("loans"), HOW, actor=ANA, intent="evt_1")
    push(house, 5)
    house.datasets.restore(Ref("loans", 1), actor=ANA, intent="evt_2")
    assert state(house, 3) == "suspect"
    assert refusal(screenings, 3) == "data-suspect"
    assert screenings.report(Ref("loans", 3))["suspicions"][0]["suspects"][0]["digest"] == ROW
    with pytest.raises(InputError) as refused:
        screenings.judge(Ref("loans", 3), Judged.FINE, reason="r", actor=BEN, intent="evt_3")
    assert refused.value.code == "not-screened"


def test_quarantine_makes_a_version_and_keeps_the_suspects_beside_it(house, screenings, detectors) -> None:
    with table() as made:
        house.datasets.push("loans", made, actor=ANA, intent="e", data_class="personal", purposes=["research"])
    with pytest.raises(InputError, match="Nothing says how"):
        screenings.quarantine(Ref("loans", 1), rules=(), widening=False, actor=ANA, intent="evt_0")
    screenings.screen(Ref("loans"), HOW, actor=ANA, intent="evt_1")
    with pytest.raises(InputError) as refused:
        screenings.quarantine(Ref("loans", 1), rules=(), widening=False, actor=ANA, intent="evt_0")
    assert refused.value.code == "nothing-suspect"
    detectors.rules = [HIGH]
    made = screenings.quarantine(Ref("loans", 1), rules=["targeted-flip"], widening=False, actor=ANA, intent="evt_2")
    assert (made["version"], made["from"], made["aside"]) == (2, 1, 1)
    shown = house.datasets.show(Ref("loans", 2))
    assert (shown["rows"], shown["purposes"], shown["data_class"]) == (3, ["research"], "personal")
    assert (shown["quarantined"]["version"], shown["quarantined"]["rules"]) == (1, ["targeted-flip"])
    assert [one["role"] for one in shown["columns"] if one["name"] == "label"] == ["target"]
    with house.datasets.open(Ref("loans", 2)) as rows:
        assert pq.read_table(pa.BufferReader(rows.parquet.read())).column("area").to_pylist() == [1.0, 2.0, 3.0]
    exported = screenings.suspects(Ref("loans", 2))
    aside = b"".join(exported.chunks)
    assert len(aside) == exported.size
    assert pq.read_table(pa.BufferReader(aside)).column("area").to_pylist() == [0.0]
    with pytest.raises(NotFoundError):
        screenings.suspects(Ref("loans", 1))
    assert house.datasets.verify()["ok"]
    house.datasets.restore(Ref("loans", 1), actor=ANA, intent="evt_3")  # undone
    assert house.datasets.show(Ref("loans"))["rows"] == 4


def test_verdicts_on_rows_are_learned_from(house, screenings, detectors) -> None:
    push(house)
    detectors.rules = [HIGH]
    screenings.screen(Ref("loans"), HOW, actor=ANA, intent="evt_1")
    judge = partial(screenings.judge, Ref("loans", 1), reason="looked", actor=BEN)
    for rule, row in (("targeted-flip", "sha256:" + "b" * 64), ("outliers", ROW)):
        with pytest.raises(InputError) as refused:
            judge(Judged.FINE, rule=rule, rows=[row], intent="evt_x")
        assert refused.value.code == "not-named"
    judge(Judged.POISONED, rule="targeted-flip", rows=[ROW], intent="evt_2")
    judge(Judged.FINE, rule="targeted-flip", rows=[ROW], intent="evt_3")
    (said,) = verdicts_on_rows(house.stores, "loans")
    assert (said.judged, said.score, said.by) == (Judged.FINE, 0.9, BEN.id)
    assert state(house, 1) == "suspect", "a word on a row is none on the version"
    push(house, 5)
    screenings.screen(Ref("loans", 2), None, actor=ANA, intent="evt_4")
    assert read_verdicts(detectors.asked[-1]["verdicts"]) == (said,)


def test_it_compares_with_the_last_version_that_people_approved(house, screenings, detectors) -> None:
    for rows in (4, 5, 6, 7):
        push(house, rows)
    screen = partial(screenings.screen, actor=ANA, intent="evt_s")
    assert screen(Ref("loans", 2), HOW)["screening"]["against"] is None
    screenings.judge(Ref("loans", 2), Judged.FINE, reason="looked", actor=BEN, intent="evt_j")
    assert screen(Ref("loans", 4), None)["screening"]["against"] == 2
    about = house.datasets.find(Ref("loans", 3)).about
    push_model(house, lineage=Lineage(dataset=about))
    house.models.approve(Ref("diagnosis", 1), Environment.DEV, actor=ANA, intent="evt_a")
    assert screen(Ref("loans", 4), None)["screening"]["against"] == 2, "nobody approves for themselves"
    house.models.approve(Ref("diagnosis", 1), Environment.DEV, actor=BEN, intent="evt_b")
    assert screen(Ref("loans", 4), None)["screening"]["against"] == 3
    assert screen(Ref("loans", 4), None, against=Ref("loans", 1))["screening"]["against"] == 1
    with pytest.raises(InputError, match="another version"):
        screen(Ref("loans", 4), None, against=Ref("loans", 4))


def test_a_statement_that_is_gone_or_another_is_told(house, screenings, detectors) -> None:
    push(house)
    detectors.rules = [HIGH]
    screenings.screen(Ref("loans"), HOW, actor=ANA, intent="evt_1")
    kept = attestations.c.predicate_type == "https://casemate.dev/screening/v1"
    with house.stores.engine.begin() as rows:
        first = rows.execute(select(attestations.c.envelope).where(kept)).scalar()
        assert b"eve" not in first, "who gave a row is no secret of the disk's"
    detectors.rules = []
    screenings.screen(Ref("loans"), None, actor=ANA, intent="evt_2")
    with house.stores.engine.begin() as rows:
        rows.execute(update(attestations).where(kept).values(envelope=first))
    with pytest.raises(VerificationError) as refused:
        screenings.report(Ref("loans", 1))
    assert refused.value.code == "screening-altered"
    assert house.datasets.verify()["problems"][0].id == "screening-altered"
    with house.stores.engine.begin() as rows:
        rows.execute(delete(attestations).where(kept))
    assert house.datasets.verify()["problems"][0].id == "screening-missing"


def test_a_deleted_version_takes_its_statement_along(house, screenings) -> None:
    push(house)
    screenings.screen(Ref("loans"), HOW, actor=ANA, intent="evt_1")
    house.datasets.delete(Ref("loans", 1), intent="evt_2")
    with house.stores.engine.connect() as rows:
        assert rows.execute(select(attestations.c.id)).all() == []
        assert rows.execute(select(versions.c.kind).where(versions.c.state == "live")).all() == []
