"""The confined side of judging blocks for another process: `main` is the only entry. Fitted once, then block after block."""

from __future__ import annotations

import pickle  # noqa: TID251 inside the sandbox: what another sandbox fitted, which may be hostile, as the rows may
import warnings
from typing import Any

import pyarrow as pa

from casemate.sandbox import Channel
from casemate.screening.judgement_bytes import pack_judgement
from casemate.screening.large import Fitted


def main(channel: Channel, _args: dict[str, Any]) -> None:
    """First frame: what was fitted; each further one: a block, answered by its judgement."""
    fitted: Fitted = pickle.loads(channel.recv().buffers[0])  # noqa: S301 see the import
    channel.send({"ready": True})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while True:
            judged, unread = fitted.judge_block(read_block(channel.recv().buffers[0]))
            channel.send({"judged": True}, [pack_judgement(judged, unread)])


def fitted_bytes(fitted: Fitted) -> bytes:
    """For `main` of another sandbox."""
    return pickle.dumps(fitted, protocol=pickle.HIGHEST_PROTOCOL)


def block_bytes(block: Any) -> memoryview:
    """For `main` of another sandbox. Args: block: Arrow record batch."""
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, block.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_batch(block)
    return memoryview(out.getvalue())


def read_block(data: bytes | bytearray) -> Any:
    """Arrow record batch."""
    with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
        return reader.read_next_batch()
