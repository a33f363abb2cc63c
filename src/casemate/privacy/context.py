"""Words beside a value, and names of columns, that say what a value is."""

from __future__ import annotations

import re
from collections.abc import Iterable

from casemate.privacy.kinds import Kind
from casemate.privacy.normal_text import plain_letters

_BEFORE, _AFTER = 48, 24  # characters in which a word counts
_PARTS = re.compile(r"[A-Z]{2,64}(?![a-z])|[A-Z]?[^\W\d_A-Z]{1,64}|\d{1,20}")

# Parts of a column's name, in the order in which they are asked. A name is split at case, digits and signs, so that
# `customerEmail`, `customer_email` and `E-Mail (customer)` are alike.
_COLUMNS: tuple[tuple[Kind, str], ...] = (
    (Kind.EMAIL, "email|e mail|mail|correo|courriel"),
    (Kind.IP, "ip|ip address|ipaddress|ip addr|client ip|remote addr"),
    (Kind.PHONE, "phone|telephone|mobile|cell|fax|tel|msisdn|telefon|telefono|telephone number|handy|whatsapp|phone number"),
    (Kind.CARD, "card number|credit card|debit card|cc number|ccnum|cardnumber|card no|creditcard|pan number|kreditkarte"),
    (Kind.IBAN, "iban"),
    (Kind.MEDICAL_RECORD, "mrn|medical record|patient id|patient number|chart number|hospital number|nhs|nhs number|health card|patientid|patient no|medicare|mbi"),
    (Kind.NATIONAL_ID, "ssn|social security|national id|national insurance|nino|passport|passport number|tax id|tin|dni|nie|nif|bsn|pesel|cpf|aadhaar|aadhar|pan card|nir|personnummer|cpr|hetu|sin|tfn|rut|curp|rrn|nric|cnp|egn|oib|isikukood|codice fiscale|driver license|drivers license|driving licence|licence number|license number|id card|identity number|steuer id"),
    (Kind.BIRTH_DATE, "birth|birthday|dob|birth date|birthdate|date of birth|born|geburtsdatum|geburtstag|naissance|nacimiento|birth year|year of birth|yob"),
    (Kind.POSTCODE, "zip|zip code|zipcode|postcode|post code|postal code|postalcode|plz|postleitzahl|cap|codigo postal|code postal"),
    (Kind.ADDRESS, "address|street|addr|adresse|strasse|street address|direccion|indirizzo|calle|house number|residence|address line|latitude|longitude"),
    (Kind.NAME, "first name|last name|surname|given name|family name|full name|firstname|lastname|fullname|forename|middle name|maiden name|vorname|nachname|nombre|apellido|apellidos|prenom|nom|cognome|customer name|patient name|employee name|person|contact name|holder|cardholder|username|user name|customer|author|patient|signatory|beneficiary|doctor|physician|nurse"),
    (Kind.AGE, "age|alter|edad"),
    (Kind.SEX, "sex|gender|geschlecht|sexe|sexo"),
    (Kind.ACCOUNT, "account number|bank account|account no|routing number|customer id|user id|userid|customerid|member id|device id|imei|login|policy number|account"),
    (Kind.HEALTH, "diagnosis|diagnoses|icd|icd10|medication|symptom|symptoms|disease|treatment|blood type|blood group|allergy|allergies|hiv|pregnant|pregnancy|prescription|blood pressure|comorbidity|disability|lab result|hba 1 c|icd 10|illness|illnesses|condition code|bmi|tumor|tumour|cancer|diabetes"),
)  # fmt: skip
_KINDS = {phrase: kind for kind, phrases in reversed(_COLUMNS) for phrase in phrases.split("|")}
_LONGEST = max(phrase.count(" ") + 1 for phrase in _KINDS)
# A column whose name says that it counts or measures something about the thing is not the thing.
_NOT_THE_THING = frozenset({"count", "num", "total", "valid", "verified", "has", "is", "type", "opt", "status", "len", "length", "rate", "score", "avg", "mean", "hash", "model", "category", "size", "format", "flag", "balance", "brand", "worst", "error", "group"})  # fmt: skip
_NOT_A_PERSON = frozenset({"file", "product", "company", "brand", "city", "country", "event", "host", "domain", "table", "column", "model", "test", "item", "store", "department", "school", "team", "job", "state", "app", "service", "class", "species"})  # fmt: skip


def kind_of_column(name: str) -> Kind | None:
    """What a column's name says that it holds; None where it says nothing, or that it counts or describes the thing."""
    parts = [plain_letters(part) for part in _PARTS.findall(name[:200])]
    if not parts or _NOT_THE_THING & set(parts):
        return Kind.HEALTH if any(p in _KINDS and _KINDS[p] is Kind.HEALTH for p in parts) else None
    for length in range(min(_LONGEST, len(parts)), 0, -1):
        for start in range(len(parts) - length, -1, -1):
            kind = _KINDS.get(" ".join(parts[start : start + length]))
            if kind is not None and not (kind is Kind.NAME and _NOT_A_PERSON & set(parts)):
                return kind
    if parts[-1] == "name" and not _NOT_A_PERSON & set(parts) and len(parts) == 1:
        return Kind.NAME
    return None


_OF_A_NAME = frozenset(["first", "last", "given", "family", "full", "middle", "maiden", "firstname", "lastname", "fullname", "surname", "forename", "vorname", "nachname", "apellido", "apellidos", "prenom", "cognome"])  # fmt: skip


def says_names(name: str) -> bool:
    """Whether a column's name can mean nothing but names of persons: `first_name` does, `customer` and `name` may mean others."""
    return bool(_OF_A_NAME & {plain_letters(part) for part in _PARTS.findall(name[:200])})


class Words:
    """Looks whether one of its words stands near a place in a text. Each is whole, in lower case."""

    def __init__(self, words: Iterable[str]) -> None:
        each = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        self._near = re.compile(rf"(?<![^\W_])(?:{each})(?![^\W_])", re.IGNORECASE)

    def are_near(self, text: str, start: int, end: int) -> bool:
        return self.are_before(text, start) or bool(
            self._near.search(text[end : end + _AFTER].split("\n", maxsplit=1)[0])
        )

    def are_before(self, text: str, start: int, *, within: int = _BEFORE) -> bool:
        return bool(self._near.search(text[max(0, start - within) : start]))
