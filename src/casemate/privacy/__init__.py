"""Personal data in a table or a text: found, reported without showing it, and made anonymous as a policy says.

    spans = find_spans("call Ann Smith at 212-555-0142")
    report = look_at_table(table, declared=DataClass.INTERNAL)

`find_personal_data` and `anonymise_dataset` do the same in the sandbox, to a Parquet file. Needs no home. What it does not stop:
docs/personal-data.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from casemate.privacy.anonymise import AnonymisationReport, TreatedColumn, anonymise_table
    from casemate.privacy.confined import (
        Anonymised,
        Reidentified,
        anonymise_dataset,
        find_personal_data,
        reidentify_dataset,
    )
    from casemate.privacy.kinds import Kind, Treatment
    from casemate.privacy.look import Look, facts_of, look_at_table, without_purpose
    from casemate.privacy.measures import Hidden, measure
    from casemate.privacy.policy import ColumnRule, Measured, Policy, proposed_policy, read_policy
    from casemate.privacy.pseudonyms import KeyUse, make_key, read_key
    from casemate.privacy.recognise import Recognition, find_spans
    from casemate.privacy.report import ColumnReport, FoundKind, PersonalConfig, PersonalReport
    from casemate.privacy.spans import Span
    from casemate.privacy.treatments import Keys

# Found when first asked for: a keeper and a gateway need the words of this room, and not its libraries.
_PLACES = {
    "AnonymisationReport": "anonymise",
    "Anonymised": "confined",
    "ColumnReport": "report",
    "ColumnRule": "policy",
    "FoundKind": "report",
    "Hidden": "measures",
    "KeyUse": "pseudonyms",
    "Keys": "treatments",
    "Kind": "kinds",
    "Look": "look",
    "Measured": "policy",
    "PersonalConfig": "report",
    "PersonalReport": "report",
    "Policy": "policy",
    "Recognition": "recognise",
    "Reidentified": "confined",
    "Span": "spans",
    "TreatedColumn": "anonymise",
    "Treatment": "kinds",
    "anonymise_dataset": "confined",
    "anonymise_table": "anonymise",
    "facts_of": "look",
    "find_personal_data": "confined",
    "find_spans": "recognise",
    "look_at_table": "look",
    "make_key": "pseudonyms",
    "measure": "measures",
    "proposed_policy": "policy",
    "read_key": "pseudonyms",
    "read_policy": "policy",
    "reidentify_dataset": "confined",
    "without_purpose": "look",
}

__all__ = [
    "AnonymisationReport",
    "Anonymised",
    "ColumnReport",
    "ColumnRule",
    "FoundKind",
    "Hidden",
    "KeyUse",
    "Keys",
    "Kind",
    "Look",
    "Measured",
    "PersonalConfig",
    "PersonalReport",
    "Policy",
    "Recognition",
    "Reidentified",
    "Span",
    "TreatedColumn",
    "Treatment",
    "anonymise_dataset",
    "anonymise_table",
    "facts_of",
    "find_personal_data",
    "find_spans",
    "look_at_table",
    "make_key",
    "measure",
    "proposed_policy",
    "read_key",
    "read_policy",
    "reidentify_dataset",
    "without_purpose",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
