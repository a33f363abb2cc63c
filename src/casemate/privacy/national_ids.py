"""Numbers that states give to persons, told by their shape and their check digits.

A number whose check and shape leave one chance in a hundred or less is believed alone; the others want their name beside them, in
the text or as the column's. Sources: the issuing authorities' published rules, as each line's comment says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date

import msgspec

from casemate.privacy.check_digits import luhn, mod_11_2, mod_11_10, verhoeff, weighted

_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
_HETU = "0123456789ABCDEFHJKLMNPRSTUVWXY"
_CF_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21,
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
), strict=True))  # fmt: skip


class NationalId(msgspec.Struct, frozen=True, kw_only=True):
    """One country's number.

    Args: shape: as it is written, at most 24 characters. valid: of the upper-case letters and digits alone. alone: whether it is believed
        without its name beside it. words: its names, in lower case.
    """

    country: str
    shape: re.Pattern[str]
    valid: Callable[[str], bool]
    alone: bool
    words: tuple[str, ...]


def is_date(year: int, month: int, day: int) -> bool:
    """Whether the calendar has it."""
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


def _short_date(six: str, *, day_first: bool = False) -> bool:
    """Whether YYMMDD, or DDMMYY, is a day of any century."""
    a, month, b = int(six[:2]), int(six[2:4]), int(six[4:6])
    year, day = (b, a) if day_first else (a, b)
    return is_date(2000 + year, month, day) or is_date(1900 + year, month, day)


def us_ssn(n: str) -> bool:
    """Not 000, 666 or 9xx; no part all zeros (Social Security Administration); 9xx with the groups of an ITIN (IRS) is one."""
    area, group, serial = n[:3], n[3:5], n[5:]
    if len(set(n)) == 1 or n in {"123456789", "078051120", "219099999"}:
        return False
    itin = area[0] == "9" and (50 <= int(group) <= 65 or 70 <= int(group) <= 88 or 90 <= int(group) <= 99)
    return itin or (area not in {"000", "666"} and area[0] != "9" and group != "00" and serial != "0000")


def gb_nino(n: str) -> bool:
    """HMRC, National Insurance Manual NIM39110: the letters that no prefix has."""
    return n[0] not in "DFIQUV" and n[1] not in "DFIQUVO" and n[:2] not in {"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"}


def gb_nhs(n: str) -> bool:
    """NHS Data Dictionary: weights 10 to 2, modulus 11."""
    return len(set(n)) > 1 and (11 - weighted(n[:9], range(10, 1, -1)) % 11) % 11 == int(n[9])


def de_tax(n: str) -> bool:
    """Bundeszentralamt: ISO 7064 mod 11,10; no leading zero; of the first ten digits exactly one stands twice or three times."""
    counts = sorted(n[:10].count(d) for d in set(n[:10]))
    return n[0] != "0" and counts[-1] in (2, 3) and counts[:-1] == [1] * (len(counts) - 1) and mod_11_10(n)


def fr_nir(n: str) -> bool:
    """INSEE: 97 minus the rest by 97; Corsica's 2A and 2B count as 19 and 18."""
    body = (
        n[:13].replace("2A", "19", 1) if n[5:7] == "2A" else n[:13].replace("2B", "18", 1) if n[5:7] == "2B" else n[:13]
    )
    month = int(n[3:5])
    return (
        body.isdigit() and (1 <= month <= 12 or 20 <= month <= 42 or month >= 50) and 97 - int(body) % 97 == int(n[13:])
    )


def es_dni(n: str) -> bool:
    """Ministerio del Interior: rest by 23; a foreigner's X, Y, Z count as 0, 1, 2."""
    digits = str("XYZ".index(n[0])) + n[1:8] if n[0] in "XYZ" else n[:8]
    return _DNI[int(digits) % 23] == n[8]


def it_fiscal(n: str) -> bool:
    """Decreto ministeriale 23/12/1976: odd and even places count differently, rest by 26."""
    even = "".join(chr(int(c) + 65) if c.isdigit() else c for c in n[1:15:2])
    total = sum(_CF_ODD[c] for c in n[0:15:2]) + sum(ord(c) - 65 for c in even)
    return chr(total % 26 + 65) == n[15]


def nl_bsn(n: str) -> bool:
    """Rijksdienst voor Identiteitsgegevens: the elfproef, weights 9 to 2 and -1."""
    return int(n) > 0 and weighted(n, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def be_register(n: str) -> bool:
    """97 minus the rest by 97; births from 2000 on with a 2 before."""
    month = int(n[2:4]) % 20
    check = int(n[9:])
    return month <= 12 and int(n[4:6]) <= 31 and check in (97 - int(n[:9]) % 97, 97 - int("2" + n[:9]) % 97)


def pl_pesel(n: str) -> bool:
    """Weights 1, 3, 7, 9; the century stands in the month."""
    month = int(n[2:4])
    century = (1900, 2000, 2100, 2200, 1800)[month // 20]
    born = is_date(century + int(n[:2]), month % 20, int(n[4:6]))
    return born and (10 - weighted(n[:10], (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10) % 10 == int(n[10])


def se_personal(n: str) -> bool:
    """Skatteverket: Luhn over ten digits; 60 is added to the day of a coordination number."""
    n = n[-10:]
    day = int(n[4:6])
    return _short_date(n[:4] + f"{day - 60 if day > 60 else day:02}") and luhn(n)


def fi_hetu(n: str) -> bool:
    """Digi- ja väestötietovirasto: rest by 31. Args: n: without the sign of the century."""
    return _short_date(n[:6], day_first=True) and _HETU[int(n[:9]) % 31] == n[9]


def no_birth(n: str) -> bool:
    """Skatteetaten: two check digits modulus 11; 40 is added to the day of a D number."""
    day = int(n[:2])
    born = _short_date(f"{day - 40 if day > 40 else day:02}" + n[2:6], day_first=True)
    first = weighted(n[:10], (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11
    return born and first == 0 and weighted(n, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def dk_cpr(n: str) -> bool:
    """The day alone: check digits ended in 2007."""
    return _short_date(n[:6], day_first=True)


def br_cpf(n: str) -> bool:
    """Receita Federal: two check digits, modulus 11."""
    first = weighted(n[:9], range(10, 1, -1)) * 10 % 11 % 10
    second = weighted(n[:10], range(11, 1, -1)) * 10 % 11 % 10
    return len(set(n)) > 1 and n[9:] == f"{first}{second}"


def in_aadhaar(n: str) -> bool:
    """UIDAI: Verhoeff; begins with 2 to 9."""
    return n[0] > "1" and verhoeff(n)


def cn_resident(n: str) -> bool:
    """GB 11643-1999: ISO 7064 mod 11-2; a day of birth within."""
    return is_date(int(n[6:10]), int(n[10:12]), int(n[12:14])) and "1800" < n[6:10] < "2100" and mod_11_2(n)


def au_tax(n: str) -> bool:
    """Australian Taxation Office: weights 1, 4, 3, 7, 5, 8, 6, 9, 10, modulus 11."""
    return int(n) > 0 and weighted(n, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def ca_sin(n: str) -> bool:
    """Luhn; no number begins with 0 or 8."""
    return n[0] not in "08" and luhn(n)


def za_id(n: str) -> bool:
    """Department of Home Affairs: a day of birth, citizenship 0 to 2, Luhn."""
    return _short_date(n[:6]) and n[10] in "012" and luhn(n)


def tr_kimlik(n: str) -> bool:
    """Two check digits over the odd and even places."""
    d = [int(c) for c in n]
    tenth = (7 * sum(d[0:9:2]) - sum(d[1:8:2])) % 10
    return d[0] > 0 and tenth == d[9] and sum(d[:10]) % 10 == d[10]


def ch_ahv(n: str) -> bool:
    """GS1's check digit after the country's 756."""
    return n[:3] == "756" and (10 - weighted(n[:12], (1, 3) * 6) % 10) % 10 == int(n[12])


def pt_nif(n: str) -> bool:
    """Weights 9 to 2, modulus 11; a person's begins with 1, 2, 3 or 45."""
    return (n[0] in "123" or n[:2] == "45") and (11 - weighted(n[:8], range(9, 1, -1)) % 11) % 11 % 10 == int(n[8])


def cl_rut(n: str) -> bool:
    """Modulus 11 with weights 2 to 7 from the right; K is ten."""
    body = n[:-1]
    total = sum(int(d) * (2 + place % 6) for place, d in enumerate(reversed(body)))
    return "0123456789K0"[11 - total % 11] == n[-1]


def kr_resident(n: str) -> bool:
    """A day of birth, and weights 2 to 9 and 2 to 5, modulus 11; numbers given since October 2020 have no check digit."""
    return _short_date(n[:6]) and (11 - weighted(n[:12], (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)) % 11) % 10 == int(n[12])


def sg_nric(n: str) -> bool:
    """Weights 2, 7, 6, 5, 4, 3, 2; the letter before adds 4 (T, G) or 3 (M)."""
    total = weighted(n[1:8], (2, 7, 6, 5, 4, 3, 2)) + {"T": 4, "G": 4, "M": 3}.get(n[0], 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "M": "KLJNPQRTUWX"}.get(n[0], "XWUTRQPNMLK")
    return letters[10 - total % 11 if n[0] == "M" else total % 11] == n[8]


def ro_cnp(n: str) -> bool:
    """Weights 2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9, modulus 11."""
    rest = weighted(n[:12], (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return n[0] != "0" and _short_date(n[1:7]) and (1 if rest == 10 else rest) == int(n[12])


def cz_birth(n: str) -> bool:
    """Ten digits divide by 11; 50, 20 or 70 is added to the month."""
    month = int(n[2:4])
    for added in (70, 50, 20):
        if month > added:
            month -= added
            break
    return _short_date(n[:2] + f"{month:02}" + n[4:6]) and int(n) % 11 == 0


def bg_egn(n: str) -> bool:
    """Weights 2, 4, 8, 5, 10, 9, 7, 3, 6, modulus 11; 20 or 40 is added to the month."""
    month = int(n[2:4])
    month -= 40 if month > 40 else 20 if month > 20 else 0
    return _short_date(n[:2] + f"{month:02}" + n[4:6]) and weighted(
        n[:9], (2, 4, 8, 5, 10, 9, 7, 3, 6)
    ) % 11 % 10 == int(n[9])


def ee_code(n: str) -> bool:
    """Of Estonia and Lithuania: weights 1 to 9, 1; where ten is left, 3 to 9, 1 to 3."""
    rest = weighted(n[:10], (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)) % 11
    if rest == 10:
        rest = weighted(n[:10], (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 11 % 10
    return "1" <= n[0] <= "8" and _short_date(n[1:7]) and rest == int(n[10])


def il_id(n: str) -> bool:
    """Luhn over nine digits."""
    return int(n) > 0 and luhn(n)


def _id(country: str, shape: str, valid: Callable[[str], bool], words: str, *, alone: bool = False) -> NationalId:
    return NationalId(
        country=country,
        shape=re.compile(rf"(?<![\w.\-/]){shape}(?![\w]|[.\-/]\d)", re.IGNORECASE),
        valid=valid,
        alone=alone,
        words=tuple(words.split("|")),
    )  # fmt: skip


_SSN = "ssn|social security|social insurance|itin|tax id|taxpayer"
NATIONAL_IDS = (
    _id("US", r"\d{3}[- ]\d{2}[- ]\d{4}", us_ssn, _SSN, alone=True),
    _id("US", r"\d{9}", us_ssn, _SSN),
    _id("GB", r"[A-Z]{2} ?\d{2} ?\d{2} ?\d{2} ?[A-D]", gb_nino, "nino|national insurance", alone=True),
    _id("DE", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", de_tax, "steuer|idnr|tin|tax id"),
    _id("FR", r"[12378] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}", fr_nir, "nir|insee|sécurité sociale|securite sociale", alone=True),
    _id("ES", r"[XYZ\d][- ]?\d{7}[- ]?[A-Z]", es_dni, "dni|nie|nif", alone=True),
    _id("IT", r"[A-Z]{6}[\dL-NP-V]{2}[A-EHLMPRST][\dL-NP-V]{2}[A-Z][\dL-NP-V]{3}[A-Z]", it_fiscal, "codice fiscale", alone=True),
    _id("NL", r"\d{9}", nl_bsn, "bsn|burgerservicenummer|sofi"),
    _id("BE", r"\d{2}\.?\d{2}\.?\d{2}[- ]?\d{3}\.?\d{2}", be_register, "rijksregister|registre national|insz|niss", alone=True),
    _id("PL", r"\d{11}", pl_pesel, "pesel", alone=True),
    _id("SE", r"(?:\d{2})?\d{6}[-+]\d{4}", se_personal, "personnummer|samordningsnummer|swedish", alone=True),
    _id("SE", r"(?:19|20)\d{10}", se_personal, "personnummer|samordningsnummer|swedish"),
    _id("FI", r"\d{6}[-+A-FU-Y]\d{3}[\dA-FHJ-NPR-Y]", lambda n: fi_hetu(n[:6] + n[-4:]), "hetu|henkilötunnus|henkilotunnus", alone=True),
    _id("NO", r"\d{6} ?\d{5}", no_birth, "fødselsnummer|fodselsnummer|personnummer|d-nummer", alone=True),
    _id("DK", r"\d{6}-\d{4}", dk_cpr, "cpr|personnummer|danish"),
    _id("BR", r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}", br_cpf, "cpf", alone=True),
    _id("IN", r"\d{4} \d{4} \d{4}|\d{12}", in_aadhaar, "aadhaar|aadhar|uidai"),
    _id("IN", r"[A-Z]{3}P[A-Z]\d{4}[A-Z]", lambda n: True, "pan|permanent account", alone=True),  # noqa: ARG005 it has no public check
    _id("CN", r"\d{17}[\dX]", cn_resident, "resident id|identity card|身份证", alone=True),
    _id("AU", r"\d{3} ?\d{3} ?\d{3}", au_tax, "tfn|tax file"),
    _id("CA", r"\d{3}[- ]\d{3}[- ]\d{3}|\d{9}", ca_sin, "sin|social insurance"),
    _id("ZA", r"\d{13}|\d{6} \d{4} \d{3}", za_id, "id number|identity number|south africa", alone=True),
    _id("TR", r"\d{11}", tr_kimlik, "kimlik|tckn", alone=True),
    _id("CH", r"756\.?\d{4}\.?\d{4}\.?\d{2}", ch_ahv, "ahv|avs", alone=True),
    _id("PT", r"\d{3} ?\d{3} ?\d{3}", pt_nif, "nif|contribuinte"),
    _id("CL", r"\d{1,2}\.\d{3}\.\d{3}-[\dK]|\d{7,8}-[\dK]", cl_rut, "rut|run|rol único", alone=True),
    _id("KR", r"\d{6}-[1-8]\d{6}", kr_resident, "rrn|resident registration|주민등록", alone=True),
    _id("SG", r"[STFGM]\d{7}[A-Z]", sg_nric, "nric|fin", alone=True),
    _id("RO", r"[1-9]\d{12}", ro_cnp, "cnp|cod numeric personal", alone=True),
    _id("CZ", r"\d{6}/\d{4}", cz_birth, "rodné|rodne", alone=True),
    _id("BG", r"\d{10}", bg_egn, "egn|егн"),
    _id("EE", r"[1-8]\d{10}", ee_code, "isikukood|asmens kodas", alone=True),
    _id("HR", r"\d{11}", mod_11_10, "oib"),
    _id("IL", r"\d{8,9}", lambda n: il_id(n.zfill(9)), "teudat zehut|israeli id|ת.ז"),
)  # fmt: skip
