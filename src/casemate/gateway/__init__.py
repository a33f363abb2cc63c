"""The data plane: the public door through which predictions leave. See `pipeline.py` for the order of its guards."""

from casemate.doors import Rate, Recorder, RecorderConfig
from casemate.gateway.deployed import deployment_resource
from casemate.gateway.http import ROUTES, Access, DataPlane, Route, build_app
from casemate.gateway.interface import (
    Authenticate,
    Authorize,
    Decision,
    Deployments,
    Infer,
    RateOf,
    ServedModel,
)
from casemate.gateway.limits import LimitsConfig
from casemate.gateway.oauth import Client, Issued, TokenService
from casemate.gateway.profiles import RULES, ProfileRules, rules_of
from casemate.gateway.serving import front_server, serve

__all__ = [
    "ROUTES",
    "RULES",
    "Access",
    "Authenticate",
    "Authorize",
    "Client",
    "DataPlane",
    "Decision",
    "Deployments",
    "Infer",
    "Issued",
    "LimitsConfig",
    "ProfileRules",
    "Rate",
    "RateOf",
    "Recorder",
    "RecorderConfig",
    "Route",
    "ServedModel",
    "TokenService",
    "build_app",
    "deployment_resource",
    "front_server",
    "rules_of",
    "serve",
]
