"""The tamper-evident log: append, prove, verify, read."""

from casemate.auditlog.checkpoint import Checkpoint, open_checkpoint
from casemate.auditlog.log import Log
from casemate.auditlog.read import LogReader, Page
from casemate.auditlog.verify import Problem, Report, verify_log

__all__ = ["Checkpoint", "Log", "LogReader", "Page", "Problem", "Report", "open_checkpoint", "verify_log"]
