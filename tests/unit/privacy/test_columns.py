"""A table's columns: what is reported, what is not, and that no value is shown."""

from __future__ import annotations

import random
from datetime import date

import msgspec
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer

from casemate.core import DataClass, Verdict
from casemate.privacy import Kind, PersonalConfig, Treatment, look_at_table
from casemate.privacy.context import kind_of_column

DRAW = random.Random(5)
GIVEN, SURNAMES = ("Ann", "Carlos", "Mia", "Noah", "Olga"), ("Smith", "Jones", "Rossi", "Kovac", "Nilsen")
ROWS = 60
PEOPLE = pa.table(
    {
        "customer": [f"{DRAW.choice(GIVEN)} {DRAW.choice(SURNAMES)}" for _ in range(ROWS)],
        "eMail": [f"u{i}@example.org" for i in range(ROWS)],
        "phone_no": [f"+44 20 7946 {i:04}" for i in range(ROWS)],
        "dateOfBirth": [date(1950 + i % 50, 1 + i % 12, 1 + i % 28) for i in range(ROWS)],
        "zip": pa.array([10000 + i for i in range(ROWS)], pa.int64()),
        "age": pa.array([18 + i for i in range(ROWS)], pa.int64()),
        "sex": ["m", "f"] * (ROWS // 2),
        "notes": ["spoke to Mia Rossi, call 212-555-0142 or mail m@example.org"] + ["nothing to add here"] * (ROWS - 1),
        "amount": [DRAW.random() * 100 for _ in range(ROWS)],
        "order_number": pa.array([DRAW.randrange(10**11, 10**12) for _ in range(ROWS)], pa.int64()),
        "colour": ["red", "green", "blue"] * (ROWS // 3),
    }
)


def found(table: pa.Table, **more: object) -> dict[str, Kind]:
    report = look_at_table(table, **more)  # type: ignore[arg-type]
    return {c.name: c.kinds[0].kind for c in report.columns if c.kinds}


def test_each_column_is_told_and_the_others_are_left_alone() -> None:
    report = look_at_table(PEOPLE)
    kinds = {c.name: {k.kind for k in c.kinds} for c in report.columns if c.kinds}
    assert kinds == {
        "customer": {Kind.NAME},
        "eMail": {Kind.EMAIL},
        "phone_no": {Kind.PHONE},
        "dateOfBirth": {Kind.BIRTH_DATE},
        "zip": {Kind.POSTCODE},
        "age": {Kind.AGE},
        "sex": {Kind.SEX},
        "notes": {Kind.NAME, Kind.PHONE, Kind.EMAIL},
    }
    notes = next(c for c in report.columns if c.name == "notes")
    assert {k.count for k in notes.kinds} == {1}
    assert notes.treatment is Treatment.SPANS
    assert report.quasi == ("dateOfBirth", "zip", "age", "sex")
    assert report.unique == 1.0


def test_no_value_is_in_the_report() -> None:
    said = msgspec.json.encode(look_at_table(PEOPLE)).decode()
    for value in ("Smith", "example.org", "7946", "0142", "1950", "Rossi"):
        assert value not in said
    assert "xxx@xxxxxxx.xxx" in said or "x99@xxxxxxx.xxx" in said or "x9@xxxxxxx.xxx" in said


@pytest.mark.parametrize(
    ("declared", "verdict"),
    [(DataClass.PUBLIC, "refused"), (DataClass.INTERNAL, "refused"), (DataClass.PERSONAL, "clean"), (DataClass.HEALTH, "clean")],
)  # fmt: skip
def test_a_class_covers_it_or_is_refused(declared: DataClass, verdict: str) -> None:
    report = look_at_table(PEOPLE, declared=declared)
    assert report.verdict.value == verdict
    assert report.proposed is DataClass.PERSONAL


def test_health_beside_a_person_wants_its_class() -> None:
    table = PEOPLE.append_column("diagnosis", pa.array(["flu", "cold"] * (ROWS // 2)))
    report = look_at_table(table, declared=DataClass.PERSONAL)
    assert report.verdict is Verdict.REFUSED
    assert report.proposed is DataClass.HEALTH
    alone = look_at_table(table.select(["diagnosis", "amount"]))
    assert alone.verdict is Verdict.CLEAN


def test_plain_data_is_not_personal() -> None:
    data = load_breast_cancer()
    table = pa.table({str(n).replace(" ", "_"): c for n, c in zip(data.feature_names, data.data.T, strict=True)})
    table = table.append_column("target", pa.array(data.target.astype("int64")))
    report = look_at_table(table)
    assert report.verdict is Verdict.CLEAN
    assert not [f for f in report.findings if f.severity != "info"]


def test_quasi_identifiers_that_name_nobody_are_told_and_not_refused() -> None:
    table = pa.table({"age": pa.array([30, 40] * 50, pa.int64()), "sex": ["m", "f"] * 50, "x": [1.0, 2.0] * 50})
    report = look_at_table(table)
    assert report.verdict is Verdict.CLEAN
    assert [f.id for f in report.findings] == ["quasi-identifiers"]
    assert look_at_table(table, config=PersonalConfig(unique=-1.0)).verdict is Verdict.REFUSED


def test_numbers_that_chance_made_right_are_no_cards() -> None:
    codes = [str(DRAW.randrange(4 * 10**15, 5 * 10**15)) for _ in range(400)]
    assert found(pa.table({"code": codes})) == {}
    assert found(pa.table({"code": pa.array([int(c) for c in codes], pa.int64())})) == {}


def test_a_column_of_cards_needs_no_name() -> None:
    cards = pa.array([4111111111111111, 4012888888881881, 5555555555554444, 5105105105105100] * 10, pa.int64())
    assert found(pa.table({"x": cards})) == {"x": Kind.CARD}
    assert found(pa.table({"x": cards.cast(pa.string())})) == {"x": Kind.CARD}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("customerEmail", Kind.EMAIL), ("E-Mail", Kind.EMAIL), ("PHONE_NUMBER", Kind.PHONE), ("dob", Kind.BIRTH_DATE), ("SSN", Kind.NATIONAL_ID),
        ("last name", Kind.NAME), ("patient_id", Kind.MEDICAL_RECORD), ("zipCode", Kind.POSTCODE), ("ip_address", Kind.IP), ("Street Address", Kind.ADDRESS),
        ("email_verified", None), ("card_type", None), ("num_phones", None), ("product_name", None), ("file_name", None), ("price", None),
        ("mean radius", None), ("age", Kind.AGE), ("page", None), ("stage", None), ("shipment", None), ("zipper", None), ("", None), ("name", Kind.NAME),
        ("model_name", None), ("blood_pressure", Kind.HEALTH), ("hba1c", Kind.HEALTH),
    ],
)  # fmt: skip
def test_names_of_columns(name: str, kind: Kind | None) -> None:
    assert kind_of_column(name) is kind


def test_a_column_called_name_is_about_people_only_if_its_values_are() -> None:
    assert found(pa.table({"name": ["Ann Smith", "Carlos Rossi", "Mia Jones"] * 5})) == {"name": Kind.NAME}
    assert found(pa.table({"name": ["steel bolt", "wood screw", "angle bracket"] * 5})) == {}
    assert found(pa.table({"last_name": ["Xqrt", "Blorp", "Zweq"] * 5})) == {"last_name": Kind.NAME}
