"""Check digits by which numbers of persons, cards and accounts tell themselves from other numbers. Pure functions of digits.

Source: ISO/IEC 7812-1 (Luhn), ISO/IEC 7064 (mod 97-10, mod 11-2, mod 11,10), J. Verhoeff 1969.
"""

from __future__ import annotations

from collections.abc import Sequence

_VERHOEFF_TURN = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def luhn(digits: str) -> bool:
    """Whether the last digit is right. Source: ISO/IEC 7812-1, annex B."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit)
        if place % 2:
            value = value * 2 - 9 * (value > 4)
        total += value
    return total % 10 == 0


def mod_97_10(text: str) -> bool:
    """Whether letters (A = 10 ... Z = 35) and digits, in this order, leave 1. Args: text: upper case. Source: ISO/IEC 7064."""
    rest = 0
    for character in text:
        value = int(character, 36)
        rest = (rest * (100 if value > 9 else 10) + value) % 97
    return rest == 1


def mod_11_10(digits: str) -> bool:
    """Source: ISO/IEC 7064, hybrid system mod 11,10; of German tax and Croatian personal numbers."""
    product = 10
    for digit in digits[:-1]:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(digits[-1])


def mod_11_2(text: str) -> bool:
    """The last character may be X for ten. Source: ISO/IEC 7064, pure system mod 11-2; of Chinese identity numbers."""
    rest = 0
    for character in text[:-1]:
        rest = (rest + int(character)) * 2 % 11
    return (12 - rest) % 11 == (10 if text[-1] in "Xx" else int(text[-1]))


def verhoeff(digits: str) -> bool:
    """Source: Verhoeff 1969, the dihedral group of order ten; of Indian Aadhaar numbers."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = _dihedral(check, _turned(int(digit), place % 8))
    return check == 0


def weighted(digits: str, weights: Sequence[int]) -> int:
    """The sum of each digit times its weight; as many digits as weights."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def _turned(digit: int, times: int) -> int:
    for _ in range(times):
        digit = _VERHOEFF_TURN[digit]
    return digit


def _dihedral(a: int, b: int) -> int:
    """The product of two elements: 0 to 4 are turns, 5 to 9 are flips."""
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b - 5) % 5
    return 5 + (a - 5 - b) % 5 if b < 5 else (a - b) % 5
