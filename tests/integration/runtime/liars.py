"""Workers in the hands of a hostile model: confined, and saying what no worker of ours says."""

from __future__ import annotations

READY = {
    "signature": {
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 1]}],
        "outputs": [{"name": "y", "datatype": "BYTES", "shape": [-1]}],
        "runtime": "onnx",
    },
    "batchable": False,
}
TEXTS = 1000


def answer_many_texts(channel, _args):
    """One byte of them is enough for four gigabytes of work."""
    channel.recv()
    channel.send({"ready": READY})
    while True:
        asked = channel.recv().message
        channel.send({"id": asked["id"], "outputs": [["y", "BYTES", [TEXTS]]]}, [bytes(4 * TEXTS)])


def begin_with_ballast(channel, _args):
    channel.recv()
    channel.send({"ready": READY}, [b"x"])


def fail_at_length(channel, _args):
    """With no text, but a list of lists of lists."""
    channel.recv()
    reason = []
    for _ in range(400):
        reason = [reason]
    channel.send({"error": {"code": "model-io", "message": reason}})
