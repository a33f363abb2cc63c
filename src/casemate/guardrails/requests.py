"""The JSON body of an inference request, as the Open Inference Protocol v2 writes it, read strictly.

Unknown members are refused: a misspelt `output` must not pass in silence. `parameters` is the protocol's own place
for extensions; it is accepted and ignored. A member that stands twice is refused, because two readers of such a
document may see different ones (RFC 8259, section 4).

Source: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import numpy as np

from casemate.core import DATATYPES, InputError

MAX_ID = 128  # characters of the caller's own request id, which is echoed
_NAMES = {np.dtype(numpy_name).str: oip for oip, numpy_name in DATATYPES.items()}

_Id = Annotated[str, msgspec.Meta(max_length=MAX_ID)]
_Parameters = dict[str, Any] | None


class InferInput(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """One tensor as sent; `data` is still JSON text, well formed, of unknown content."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw
    parameters: _Parameters = None


class InferOutput(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An output that the caller asks for."""

    name: str
    parameters: _Parameters = None


class InferRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """A well-formed request; nothing of it is checked against a model yet."""

    inputs: list[InferInput]
    outputs: list[InferOutput] | None = None
    id: _Id | None = None
    parameters: _Parameters = None


_DECODER = msgspec.json.Decoder(InferRequest)


def decode_request(body: bytes) -> InferRequest:
    """Read a request body.

    Returns: a request whose every member is known, of the right JSON type, and stands once.
    Raises: InputError: `malformed-json`, `wrong-document` or `duplicate-member`; the sentence says where.
    """
    try:
        request = _DECODER.decode(body)
    except msgspec.ValidationError as error:
        raise InputError(f"The body is not an inference request: {error}.", code="wrong-document") from None
    except UnicodeDecodeError:
        raise InputError("The body is not valid UTF-8: send JSON in UTF-8.", code="malformed-json") from None
    except RecursionError:
        raise InputError("The body nests too deeply: send 'data' flat.", code="malformed-json") from None
    except msgspec.DecodeError as error:
        raise InputError(f"The body is not valid JSON: {error}.", code="malformed-json") from None
    if _may_repeat_members(body, request):
        _refuse_repeated_members(body)
    return request


def _may_repeat_members(body: bytes, request: InferRequest) -> bool:
    """False only when no member can stand twice: the text has no more quotation marks than the document needs.

    Counting one byte costs a fraction of a microsecond; only an unusual body (parameters, text, escapes) pays for
    the exact check.
    """
    texts = 1 + 6 * len(request.inputs)  # "inputs"; per tensor four names of members and two values
    if request.outputs is not None:
        texts += 1 + 2 * len(request.outputs)
    if request.id is not None:
        texts += 2
    return body.count(b'"') != 2 * texts or b"\\" in body


def _refuse_repeated_members(body: bytes) -> None:
    def checked(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            raise InputError("The body holds a member twice: send each name once.", code="duplicate-member")

    try:
        json.loads(body, object_pairs_hook=checked, parse_int=len, parse_float=len)
    except RecursionError:
        raise InputError("The body nests too deeply: send 'data' flat.", code="malformed-json") from None
    except ValueError:
        raise InputError("The body is not valid JSON.", code="malformed-json") from None


def encode_request(inputs: Mapping[str, np.ndarray[Any, Any]], *, request_id: str | None = None) -> bytes:
    """The request body that sends `inputs`, flat and in row order; `decode_request` reads the same values back."""
    tensors = [
        {"name": name, "shape": list(array.shape), "datatype": _NAMES[array.dtype.str], "data": array.ravel().tolist()}
        for name, array in inputs.items()
    ]
    return msgspec.json.encode({"inputs": tensors} | ({} if request_id is None else {"id": request_id}))
