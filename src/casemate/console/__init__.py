"""The control plane's door: HTTP in, through the gate, to the rooms below."""

from casemate.console.app import build_console, build_door
from casemate.console.callers import LOCAL_OWNER
from casemate.console.grant_routes import tend_break_glass
from casemate.console.issuer_routes import refresh_all
from casemate.console.live_runs import LiveRun
from casemate.console.retention_routes import tend_retention
from casemate.console.review_routes import tend_reviews
from casemate.console.services import Asked, AskedConversion, Converted, Services, Trained

__all__ = [
    "LOCAL_OWNER",
    "Asked",
    "AskedConversion",
    "Converted",
    "LiveRun",
    "Services",
    "Trained",
    "build_console",
    "build_door",
    "refresh_all",
    "tend_break_glass",
    "tend_retention",
    "tend_reviews",
]
