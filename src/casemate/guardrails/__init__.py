"""Decisions about one request: pure functions of the request and of fitted state. No server, no home, no I/O."""

from casemate.guardrails.outputs import OutputHardener, Precision
from casemate.guardrails.ranges import RangeScreen
from casemate.guardrails.requests import InferRequest, decode_request, encode_request
from casemate.guardrails.tensors import InputReader

__all__ = [
    "InferRequest",
    "InputReader",
    "OutputHardener",
    "Precision",
    "RangeScreen",
    "decode_request",
    "encode_request",
]
