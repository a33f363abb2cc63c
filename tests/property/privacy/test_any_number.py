"""Check digits, replacements and pseudonyms, of any number and any text."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casemate.core import InputError
from casemate.privacy import find_spans
from casemate.privacy import national_ids as ids
from casemate.privacy.check_digits import luhn, mod_11_2, mod_11_10, mod_97_10, verhoeff
from casemate.privacy.normal_text import normal_text
from casemate.privacy.numbers_of_accounts import is_iban
from casemate.privacy.pseudonyms import Pseudonyms, Replacements, Reversible, plain_form

DIGITS = st.text(string.digits, min_size=4, max_size=18)
KEY = bytes(range(32))


@pytest.mark.parametrize("check", [luhn, verhoeff, mod_11_10])
@given(body=DIGITS, place=st.integers(0), turn=st.integers(1, 9))
def test_one_digit_completes_a_number_and_one_changed_breaks_it(check, body, place, turn) -> None:
    complete = [body + d for d in string.digits if check(body + d)]
    assert len(complete) == 1
    number = complete[0]
    place %= len(number)
    changed = number[:place] + str((int(number[place]) + turn) % 10) + number[place + 1 :]
    assert not check(changed)


@given(body=st.text(string.digits, min_size=17, max_size=17), place=st.integers(0, 16), turn=st.integers(1, 9))
def test_mod_11_2_has_one_ending_and_finds_each_changed_digit(body, place, turn) -> None:
    (ending,) = [c for c in "0123456789X" if mod_11_2(body + c)]
    changed = body[:place] + str((int(body[place]) + turn) % 10) + body[place + 1 :]
    assert not mod_11_2(changed + ending)


@given(body=DIGITS, swap=st.integers(0))
def test_verhoeff_finds_each_swap_of_neighbours(body, swap) -> None:
    number = next(body + d for d in string.digits if verhoeff(body + d))
    swap %= len(number) - 1
    a, b = number[swap], number[swap + 1]
    assert a == b or not verhoeff(number[:swap] + b + a + number[swap + 2 :])


@given(
    body=st.text(string.digits + string.ascii_uppercase, min_size=18, max_size=18), place=st.integers(0, 17),
    other=st.sampled_from(string.digits + string.ascii_uppercase),
)  # fmt: skip
def test_iban_has_one_pair_of_check_digits_and_finds_each_changed_character(body, place, other) -> None:
    (check,) = [f"{n:02}" for n in range(2, 99) if mod_97_10(body + "GB" + f"{n:02}")]
    assert is_iban("GB" + check + body)
    changed = body[:place] + other + body[place + 1 :]
    assert (changed == body) is is_iban("GB" + check + changed) or body[place].isdigit() != other.isdigit()


# Numbers whose schemes leave at most one last character for a body.
ONE_ENDING = {
    "gb_nhs": 10, "nl_bsn": 9, "pl_pesel": 11, "br_cpf": 11, "au_tax": 9, "ca_sin": 9, "tr_kimlik": 11, "ch_ahv": 13, "pt_nif": 9, "ro_cnp": 13,
    "bg_egn": 10, "ee_code": 11, "il_id": 9, "za_id": 13, "no_birth": 11, "se_personal": 10, "de_tax": 11,
}  # fmt: skip


@pytest.mark.parametrize("name", ONE_ENDING)
@given(data=st.data())
def test_at_most_one_last_digit_is_right(name, data) -> None:
    size = ONE_ENDING[name] - 1
    body = data.draw(st.text(string.digits, min_size=size, max_size=size))
    assert sum(getattr(ids, name)(body + d) for d in string.digits) <= 1


@given(body=st.text(string.digits, min_size=8, max_size=8))
def test_one_letter_completes_a_spanish_number_and_one_sign_a_chilean(body) -> None:
    assert sum(ids.es_dni(body + c) for c in string.ascii_uppercase) == 1
    assert sum(ids.cl_rut(body + c) for c in "0123456789K") == 1


@settings(deadline=None)  # the first text loads the lists
@given(text=st.text(max_size=200))
def test_any_text_is_read_and_its_places_are_in_it(text) -> None:
    spans = find_spans(text)
    assert all(0 <= s.start < s.end <= len(text) for s in spans)
    normal = normal_text(text)
    assert normal.places is None or len(normal.places) == len(normal.text)


@given(value=st.text(max_size=60))
def test_a_replacement_keeps_the_form_and_is_always_the_same(value) -> None:
    new = Replacements(KEY, "x").of(value)
    assert new == Replacements(KEY, "x").of(value)
    assert len(new) == len(value)
    for old, made in zip(value, new, strict=True):
        ascii_letter = old.isascii() and old.isalpha()
        assert (made.isupper() == old.isupper() and made.isalpha()) if ascii_letter else True
        assert made.isdigit() if "0" <= old <= "9" else True
        assert made == old if not old.isalnum() else True


@given(a=st.text(string.digits, min_size=6, max_size=20), b=st.text(string.digits, min_size=6, max_size=20))
def test_numbers_of_six_digits_and_more_stay_different(a, b) -> None:
    made = Replacements(KEY, "x")
    assert (a == b) is (made.of(a) == made.of(b))


@given(value=st.text(max_size=80), place=st.integers(0))
def test_a_reversible_pseudonym_comes_back_and_a_changed_one_is_refused(value, place) -> None:
    hidden = Reversible(KEY, "d").hidden(value)
    assert Reversible(KEY, "d").shown(hidden) == value
    place %= len(hidden.rstrip("="))
    changed = hidden[:place] + ("A" if hidden[place] != "A" else "B") + hidden[place + 1 :]
    if changed[-4:].rstrip("=") != hidden[-4:].rstrip("=") and place >= len(hidden.rstrip("=")) - 1:
        return  # the last character's spare bits mean nothing
    with pytest.raises(InputError, match="key"):
        Reversible(KEY, "d").shown(changed)
    with pytest.raises(InputError, match="key"):
        Reversible(KEY, "other").shown(hidden)


@given(value=st.text(max_size=80))
def test_a_pseudonym_depends_on_key_domain_and_plain_form_alone(value) -> None:
    made = Pseudonyms(KEY, "d").of(value)
    assert made == Pseudonyms(KEY, "d").of(plain_form(value)) == Pseudonyms(KEY, "d").of(f"  {value} ")
    assert made != Pseudonyms(KEY, "e").of(value)
    assert made != Pseudonyms(bytes(32), "d").of(value)
    assert len(made) == 16
