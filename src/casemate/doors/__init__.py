"""What both doors share: the server with its bounds on connections, heads, bodies and time; TLS; problem documents."""

from casemate.doors.connection import Connection, Exchange, WireLimits
from casemate.doors.problems import Headers, Problem, problem_of, status_of
from casemate.doors.server import FrontServer, ServerConfig, TlsFiles, reload_certificates, tls_context

__all__ = [
    "Connection",
    "Exchange",
    "FrontServer",
    "Headers",
    "Problem",
    "ServerConfig",
    "TlsFiles",
    "WireLimits",
    "problem_of",
    "reload_certificates",
    "status_of",
    "tls_context",
]
