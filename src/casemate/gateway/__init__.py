"""The data plane: the public door through which predictions leave. See `pipeline.py` for the order of its guards."""

from casemate.gateway.http import ROUTES, Access, DataPlane, Route, build_app
from casemate.gateway.interface import (
    Authenticate,
    Authorize,
    Decision,
    Deployments,
    Infer,
    Rate,
    RateOf,
    ServedModel,
)
from casemate.gateway.limits import LimitsConfig
from casemate.gateway.profiles import RULES, ProfileRules, rules_of
from casemate.gateway.recorder import Recorder
from casemate.gateway.refusals import RecorderConfig
from casemate.gateway.serving import front_server, serve

__all__ = [
    "ROUTES",
    "RULES",
    "Access",
    "Authenticate",
    "Authorize",
    "DataPlane",
    "Decision",
    "Deployments",
    "Infer",
    "LimitsConfig",
    "ProfileRules",
    "Rate",
    "RateOf",
    "Recorder",
    "RecorderConfig",
    "Route",
    "ServedModel",
    "build_app",
    "front_server",
    "rules_of",
    "serve",
]
