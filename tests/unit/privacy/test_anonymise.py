"""Each treatment, what is measured afterwards, and what is refused."""

from __future__ import annotations

from datetime import date, datetime

import pyarrow as pa
import pytest

from casemate.core import InputError, Verdict
from casemate.privacy import Keys, Policy, anonymise_table, look_at_table, measure, proposed_policy, read_policy
from casemate.privacy.pseudonyms import KeyUse, Replacements, Reversible, make_key, read_key

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
KEYS = Keys(pseudonym=KEY, reversible=OTHER)


def policy(text: str, measured: str = "", others: str = "keep") -> Policy:
    head = f'schema = 1\nothers = "{others}"\n'
    return read_policy(f"{head}[measure]\n{measured}\n{text}".encode())


def one(column: object, rule: str) -> list[object]:
    report, table = anonymise_table(
        pa.table({"c": column, "x": [1.0] * len(column)}), policy(f"[columns.c]\n{rule}"), keys=KEYS
    )  # type: ignore[arg-type]
    assert report.verdict is Verdict.CLEAN, report.findings
    return table.column("c").to_pylist()


DAYS = pa.array([date(1983, 5, 12), None, date(1990, 1, 1)])
CASES = [
    (["abcdefgh", None, "xy"], 'treatment = "mask"', ["***", None, "***"]),
    (["abcdefghijkl", "xy"], 'treatment = "mask"\nlast = 2', ["***kl", "***"]),
    (DAYS, 'treatment = "generalise"\nto = "year"', ["1983", None, "1990"]),
    (DAYS, 'treatment = "generalise"\nto = "decade"', ["1980s", None, "1990s"]),
    (pa.array([datetime(1983, 5, 12, 3)]), 'treatment = "generalise"\nto = "month"', ["1983-05"]),  # noqa: DTZ001 a dataset has no zones
    (["12 May 1983", "1990-03-01", "no"], 'treatment = "generalise"\nto = "year"', ["1983", "1990", None]),
    (pa.array([0, 34, 90, None], pa.int64()), 'treatment = "generalise"\nwidth = 10\ntop = 80', ["0-9", "30-39", "80+", None]),
    (pa.array([123_456_789, 2**62], pa.int64()), 'treatment = "generalise"\nwidth = 1000', ["123456000-123456999", f"{2**62 // 1000 * 1000}-{2**62 // 1000 * 1000 + 999}"]),
    (["::1", "fe80::1%eth0"], 'treatment = "generalise"\nnetwork = 24', ["::/48", "fe80::/48"]),
    (pa.array([-5], pa.int64()), 'treatment = "generalise"\nwidth = 10', ["-10--1"]),
    (pa.array([1.5, float("inf")]), 'treatment = "generalise"\nwidth = 0.5', ["1.5-2", None]),
    (["SW1A 2AA", " ec1"], 'treatment = "generalise"\nfirst = 3', ["SW1", "EC1"]),
    (["203.0.113.9", "2001:db8:1:2::3", "no"], 'treatment = "generalise"\nnetwork = 24', ["203.0.113.0/24", "2001:db8:1::/48", None]),
    (["mail a@b.org or 212-555-0142", "plain"], 'treatment = "spans"', ["mail [email] or [phone]", "plain"]),
    (["better than early Casillas was", "Reset"], 'treatment = "spans"', ["better than early [name] was", "Reset"]),
    (["ann@b.org"], 'treatment = "keep"\nbecause = "they agreed"', ["ann@b.org"]),
]  # fmt: skip


@pytest.mark.parametrize(("column", "rule", "expected"), CASES, ids=[rule.replace("\n", ", ") for _, rule, _ in CASES])
def test_treatments(column: object, rule: str, expected: list[object]) -> None:
    assert one(column, rule) == expected


def test_pseudonyms_are_equal_within_a_domain_and_not_beyond() -> None:
    a, b, c = one(["Ann", " ann", "Bob"], 'treatment = "pseudonym"\ndomain = "people"')
    assert a == b != c
    assert one(["Ann"], 'treatment = "pseudonym"\ndomain = "people"') == [a]
    assert one(["Ann"], 'treatment = "pseudonym"') != [a]
    (mark,) = one(["mail a@b.org"], 'treatment = "spans"\ndomain = "people"')
    assert str(mark).startswith("mail [email:")


def test_replacements_keep_the_form() -> None:
    (new,) = one(["+44 (20) 7946-0958"], 'treatment = "replace"')
    assert [c if not c.isdigit() else "9" for c in str(new)] == list("+99 (99) 9999-9999")
    assert new != "+44 (20) 7946-0958"


def test_the_cipher_is_nists() -> None:
    """SP 800-38G, FF1 samples 1 and 7."""
    from ffx import FF1

    sample = FF1(bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3C"), radix=10)
    assert sample.encrypt("0123456789") == "2433477484"
    assert sample.encrypt("0123456789", tweak=bytes.fromhex("39383736353433323130")) == "6124200773"
    long = bytes.fromhex("2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94")
    assert FF1(long, radix=10).encrypt("0123456789") == "6657667009"
    assert Replacements(KEY, "a").of("123456") != Replacements(KEY, "b").of("123456")


def test_noise_moves_values_and_keeps_types() -> None:
    many = pa.array([100] * 500, pa.int64())
    new = one(many, 'treatment = "noise"\nscale = 5')
    assert all(isinstance(v, int) for v in new)
    assert len(set(new)) > 5
    assert 90 < sum(new) / 500 < 110  # type: ignore[arg-type]
    days = one(pa.array([date(2020, 1, 1)] * 50), 'treatment = "noise"\nscale = 30')
    assert len(set(days)) > 5


def test_what_is_left_is_refused_with_the_column() -> None:
    table = pa.table({"c": ["ann@b.org"] * 3, "x": [1, 2, 3]})
    report, _ = anonymise_table(table, policy('[columns.c]\ntreatment = "keep"'))
    assert report.verdict is Verdict.REFUSED
    assert [(f.id, f.location) for f in report.findings] == [("personal-data-left", "c")]
    assert anonymise_table(table, policy(""))[0].verdict is Verdict.REFUSED  # others = keep is no way round it


PEOPLE = pa.table(
    {
        "age": pa.array([20, 20, 20, 30, 30, 30, 99], pa.int64()),
        "sex": ["m", "m", "m", "f", "f", "f", "f"],
        "illness": ["flu", "cold", "flu", "flu", "flu", "flu", "gout"],
    }
)


def test_measures() -> None:
    hidden = measure(PEOPLE, quasi=("age", "sex"), sensitive=("illness",), k=3)
    assert (hidden.k, hidden.diversity) == (1, {"illness": 1})
    assert hidden.unique == pytest.approx(1 / 7, abs=1e-6)
    assert hidden.below == pytest.approx(1 / 7, abs=1e-6)
    assert measure(PEOPLE.slice(0, 0), quasi=("age",)).k == 0
    missing = pa.table({"a": pa.array([None, None, 1], pa.int64())})
    assert measure(missing, quasi=("a",)).k == 1
    assert measure(missing.slice(0, 2), quasi=("a",)).k == 2


@pytest.mark.parametrize(
    ("measured", "verdict", "rows"),
    [
        ("k = 3", "refused", 7),
        ("k = 3\nsuppress = 0.2", "clean", 6),
        ("k = 3\nsuppress = 0.1", "refused", 7),
        ('k = 3\nsuppress = 0.2\nl = 2\nsensitive = ["illness"]', "refused", 6),
        ('k = 3\nsuppress = 0.2\nl = 1\nsensitive = ["illness"]', "clean", 6),
        ('k = 3\non_failure = "warn"', "clean", 7),
        ("k = 1\nunique = 0.2", "clean", 7),
        ("k = 1\nunique = 0.1", "refused", 7),
    ],
)
def test_rows_must_hide(measured: str, verdict: str, rows: int) -> None:
    report, table = anonymise_table(PEOPLE, policy("", f'quasi = ["age", "sex"]\n{measured}'))
    assert (report.verdict.value, table.num_rows) == (verdict, rows)
    assert report.suppressed == 7 - rows
    assert report.before is not None


def test_quasi_identifiers_that_are_kept_must_be_measured() -> None:
    report, _ = anonymise_table(PEOPLE, policy("", 'quasi = ["age"]\nk = 1\nunique = 1.0'))
    assert [f.id for f in report.findings] == ["quasi-not-measured"]


WRONG = [
    ("schema = 2", "schema 2"),
    ("nonsense", "TOML"),
    ("colums = {}", "colums"),
    ('[columns.c]\ntreatment = "forget"', "forget"),
    ('[columns.c]\ntreatment = "generalise"', "wants one of"),
    ('[columns.c]\ntreatment = "generalise"\nto = "week"', "year, month or decade"),
    ('[columns.c]\ntreatment = "generalise"\nto = "year"\nfirst = 2', "wants one of"),
    ('[columns.c]\ntreatment = "generalise"\nwidth = nan', "positive"),
    ('[columns.c]\ntreatment = "generalise"\nwidth = 2\ntop = inf', "top"),
    ('[columns.c]\ntreatment = "mask"\nlast = 5', "1 to 4"),
    ('[columns.c]\ntreatment = "noise"', "scale"),
    ('[columns.c]\ntreatment = "noise"\nscale = inf', "scale"),
    ('[columns.c]\ntreatment = "drop"\ndomain = "d"', "domain"),
    ('[columns.c]\ntreatment = "drop"\nwidth = 2', "width"),
    ("[measure]\nk = 0", "k and l"),
    ("[measure]\nsuppress = 1.5", "shares"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_wrong_policy_is_told(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_policy(text.encode())
    assert caught.value.code == "personal-policy"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('[columns.nobody]\ntreatment = "drop"', "personal-policy"),
        ('[columns.age]\ntreatment = "drop"', "personal-policy"),  # the others are not named
        ('others = "drop"', "personal-policy"),
        ('others = "keep"\n[columns.sex]\ntreatment = "noise"\nscale = 1', "personal-treatment"),
        ('others = "keep"\n[columns.sex]\ntreatment = "pseudonym"', "personal-key"),
        ('others = "keep"\n[columns.sex]\ntreatment = "reversible"', "personal-key"),
        ('others = "keep"\n[measure]\nquasi = ["age"]\n[columns.age]\ntreatment = "drop"', "personal-policy"),
    ],
)
def test_a_policy_that_does_not_fit_the_table_is_refused(text: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        anonymise_table(PEOPLE, read_policy(text.encode()))
    assert caught.value.code == code


def test_the_proposal_is_a_policy_for_any_name_of_a_column() -> None:
    table = pa.table(
        {'a "quoted" \\ näme 😀': ["a@b.org"] * 3, "e-mail": ["c@d.org"] * 3, "age": pa.array([1, 2, 3], pa.int64())}
    )
    read = read_policy(proposed_policy(look_at_table(table)).encode())
    assert set(read.columns) == set(table.column_names)
    assert read.measure.quasi == ("age",)
    assert read.needs_key
    report, _ = anonymise_table(table, read, keys=KEYS)
    assert {f.id for f in report.findings} == {"rows-stand-out"}  # three people do not hide


def test_keys_are_of_one_use_and_their_owners_alone(tmp_path) -> None:
    first, second = tmp_path / "k", tmp_path / "r"
    make_key(first, KeyUse.PSEUDONYM)
    make_key(second, KeyUse.REVERSIBLE)
    assert len(read_key(first, KeyUse.PSEUDONYM)) == 32
    with pytest.raises(InputError, match="no reversible key"):
        read_key(first, KeyUse.REVERSIBLE)
    with pytest.raises(InputError):
        make_key(first, KeyUse.PSEUDONYM)
    first.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        read_key(first, KeyUse.PSEUDONYM)
    first.write_text("no key")
    with pytest.raises(InputError, match="no pseudonym key"):
        read_key(first, KeyUse.PSEUDONYM)


def test_reversible_pseudonyms_hide_and_come_back() -> None:
    (hidden,) = one(["Ann Smith"], 'treatment = "reversible"\ndomain = "people"')
    assert "Ann" not in str(hidden)
    assert Reversible(OTHER, "people").shown(str(hidden)) == "Ann Smith"


def test_a_name_of_one_column_is_known_in_the_texts_of_another() -> None:
    names = ["Ann Xqrtzky", "Carlos Rossi", "Mia Jones"]
    notes = ["the Xqrtzky file is here now", "nothing to add", "the parcel went out"]
    table = pa.table({"customer": names * 4, "note": notes * 4})
    report, made = anonymise_table(
        table, policy('[columns.customer]\ntreatment = "drop"\n[columns.note]\ntreatment = "spans"')
    )
    assert report.verdict is Verdict.CLEAN
    assert made.column("note").to_pylist()[0] == "the [name] file is here now"
