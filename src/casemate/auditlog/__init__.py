"""The tamper-evident log: append, prove, verify, read."""

from casemate.auditlog.checkpoint import Checkpoint, open_checkpoint
from casemate.auditlog.copy import copy_log
from casemate.auditlog.log import Log
from casemate.auditlog.networks import NetworkSeen, networks_seen
from casemate.auditlog.read import LogReader, Page
from casemate.auditlog.recent import signed_since
from casemate.auditlog.tree import leaf_hash
from casemate.auditlog.uses import Use
from casemate.auditlog.verify import Problem, Report, verify_log

__all__ = [
    "Checkpoint",
    "Log",
    "LogReader",
    "NetworkSeen",
    "Page",
    "Problem",
    "Report",
    "Use",
    "copy_log",
    "leaf_hash",
    "networks_seen",
    "open_checkpoint",
    "signed_since",
    "verify_log",
]
