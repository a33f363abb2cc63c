"""Every rule of the screening by construction: id, title, severity, what to do, and references.

References: MITRE ATLAS (AML.T0020 poison training data, AML.T0018 backdoor model), OWASP Machine Learning Security Top 10 (ML02 data
poisoning).
"""

from __future__ import annotations

from casemate.core import Severity
from casemate.scanning.rules import Rule

_POISON = ("ATLAS:AML.T0020", "OWASP-ML:ML02")
_BACKDOOR = ("ATLAS:AML.T0018", *_POISON)
_QUARANTINE = "Set the rows aside (--quarantine FOLDER), have a person judge them, and train on what is left."

LABEL_ERROR = Rule(
    id="label-error",
    title="Labels that models of the other rows do not believe",
    severity=Severity.MEDIUM,
    remediation=_QUARANTINE,
    references=_POISON,
)
TARGETED_FLIP = Rule(
    id="targeted-flip",
    title="Wrong labels gather between two classes",
    severity=Severity.HIGH,
    remediation=_QUARANTINE,
    references=_POISON,
)
BACKDOOR_TRIGGER = Rule(
    id="backdoor-trigger",
    title="Labels hang on a pattern that the rest of the row does not explain",
    severity=Severity.MEDIUM,
    remediation=_QUARANTINE,
    references=_BACKDOOR,
)
CONTRIBUTOR_DISAGREES = Rule(
    id="contributor-disagrees",
    title="One contributor's labels are wrong far more often than the others'",
    severity=Severity.HIGH,
    remediation="Set the contributor's rows aside, find out what happened, and revoke their key if they did it.",
    references=_POISON,
)
CONTRIBUTOR_OVER_LIMIT = Rule(
    id="contributor-over-limit",
    title="One contributor gives more of the rows than one may",
    severity=Severity.MEDIUM,
    remediation="Take at most the limit of their rows, or raise --limit if you trust them.",
    references=_POISON,
)
FEEDBACK_OVER_LIMIT = Rule(
    id="feedback-over-limit",
    title="Contributors of feedback give more rows than one may",
    severity=Severity.HIGH,
    remediation="Set aside what is over (dataset quarantine), or have a person judge it. Several names may be one person's.",
    references=_POISON,
)
TIME_DISAGREES = Rule(
    id="time-disagrees",
    title="Labels of one stretch of time are wrong far more often than those of others",
    severity=Severity.MEDIUM,
    remediation="Find out what changed then: another labeller, another source, or the world.",
    references=_POISON,
)
SLOW_FEEDBACK = Rule(
    id="slow-feedback",
    title="Labels move, little by little, away from what the oldest rows teach",
    severity=Severity.HIGH,
    remediation="Compare with the last version that a person approved (--against), and judge the rows before you train.",
    references=_POISON,
)
NEAR_DUPLICATES = Rule(
    id="near-duplicates",
    title="Many rows that are nearly the same",
    severity=Severity.LOW,
    remediation="Keep one of each cluster, unless the repetition is real.",
    references=_POISON,
)
OUTLIERS = Rule(
    id="outliers",
    title="Rows that are like no other row",
    severity=Severity.LOW,
    remediation="Look at them: they are errors of measurement, rare cases, or planted.",
    references=_POISON,
)
UNREAD_IMAGE = Rule(
    id="unread-image",
    title="Images that could not be looked at",
    severity=Severity.MEDIUM,
    remediation="Mend them, shrink them below 40 million pixels, or leave them out: nothing was looked for in them.",
    references=_POISON,
)
RELABELLED = Rule(
    id="relabelled",
    title="Rows of the former version bear another label now",
    severity=Severity.MEDIUM,
    remediation="Ask whoever changed them why.",
    references=_POISON,
)
AGAINST_FORMER = Rule(
    id="against-former",
    title="New rows go against what the former version teaches",
    severity=Severity.MEDIUM,
    remediation=_QUARANTINE,
    references=_POISON,
)
ALL = (
    LABEL_ERROR, TARGETED_FLIP, BACKDOOR_TRIGGER, CONTRIBUTOR_DISAGREES, CONTRIBUTOR_OVER_LIMIT, FEEDBACK_OVER_LIMIT, TIME_DISAGREES,
    SLOW_FEEDBACK, NEAR_DUPLICATES, OUTLIERS, UNREAD_IMAGE, RELABELLED, AGAINST_FORMER,
)  # fmt: skip
