"""Personal data in a table or a text: found, reported without showing it, and made anonymous as a policy says.

    spans = find_spans("call Ann Smith at 212-555-0142")
    report = look_at_table(table, declared=DataClass.INTERNAL)

`find_personal_data` and `anonymise_dataset` do the same in the sandbox, to a Parquet file. Needs no home. What it does not stop:
docs/personal-data.md.
"""

from casemate.privacy.anonymise import AnonymisationReport, TreatedColumn, anonymise_table
from casemate.privacy.confined import Anonymised, anonymise_dataset, find_personal_data, reidentify_dataset
from casemate.privacy.kinds import Kind, Treatment
from casemate.privacy.look import Look, facts_of, look_at_table, without_purpose
from casemate.privacy.measures import Hidden, measure
from casemate.privacy.policy import ColumnRule, Measured, Policy, proposed_policy, read_policy
from casemate.privacy.pseudonyms import KeyUse, make_key, read_key
from casemate.privacy.recognise import Recognition, find_spans
from casemate.privacy.report import ColumnReport, FoundKind, PersonalConfig, PersonalReport
from casemate.privacy.spans import Span
from casemate.privacy.treatments import Keys

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
