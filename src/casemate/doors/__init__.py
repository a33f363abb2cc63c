"""What both doors share: the server with its bounds, TLS, problem documents, refusals counted and on record."""

from casemate.doors.connection import CERTIFICATE, Connection, WireLimits
from casemate.doors.exchange import Exchange
from casemate.doors.limits import BUCKETS, REFUSAL_RATE, Buckets, Rate, RefusalLimit, network_of
from casemate.doors.problems import TYPE_PREFIX, Headers, Problem, problem_of, status_of
from casemate.doors.recorder import Recorder
from casemate.doors.refusals import RecorderConfig, Refusal
from casemate.doors.server import (
    FrontServer,
    ServerConfig,
    TlsFiles,
    keep_certificates,
    reload_certificates,
    tls_context,
    trust_clients,
)

__all__ = [
    "BUCKETS",
    "CERTIFICATE",
    "REFUSAL_RATE",
    "TYPE_PREFIX",
    "Buckets",
    "Connection",
    "Exchange",
    "FrontServer",
    "Headers",
    "Problem",
    "Rate",
    "Recorder",
    "RecorderConfig",
    "Refusal",
    "RefusalLimit",
    "ServerConfig",
    "TlsFiles",
    "WireLimits",
    "keep_certificates",
    "network_of",
    "problem_of",
    "reload_certificates",
    "status_of",
    "tls_context",
    "trust_clients",
]
