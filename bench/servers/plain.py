"""What people serve with when they have no defences: raw ASGI and FastAPI under uvicorn, each with onnxruntime.

    plain.py raw|fastapi FOLDER [CERTIFICATE KEY]

FOLDER holds model.onnx. Prints `ready URL`; stops when its input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import uvicorn
import uvloop

PATH = "/v2/models/diagnosis/infer"
DATATYPES = {"float32": "FP32", "int64": "INT64"}


def onnx_session(folder: Path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(folder / "model.onnx", options)


def answer_of(names, values):
    outputs = [
        {"name": name, "datatype": DATATYPES[value.dtype.name], "shape": value.shape, "data": value.ravel().tolist()}
        for name, value in zip(names, values, strict=True)
    ]
    return {"model_name": "diagnosis", "outputs": outputs}


def raw_app(folder: Path):
    session = onnx_session(folder)
    names = [output.name for output in session.get_outputs()]

    async def app(scope, receive, send):
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message.get("more_body"):
                break
        sent = json.loads(body)["inputs"][0]
        values = session.run(None, {"X": np.array(sent["data"], np.float32).reshape(sent["shape"])})
        answer = json.dumps(answer_of(names, values)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


def fastapi_app(folder: Path):
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Input(BaseModel):
        name: str
        shape: list[int]
        datatype: str
        data: list[float]

    class Body(BaseModel):
        inputs: list[Input]

    session = onnx_session(folder)
    names = [output.name for output in session.get_outputs()]
    app = FastAPI()

    async def infer(body):
        sent = body.inputs[0]
        values = session.run(None, {"X": np.array(sent.data, np.float32).reshape(sent.shape)})
        return answer_of(names, values)

    infer.__annotations__["body"] = Body  # the annotations of this module are strings, and Body is local
    app.post(PATH)(infer)
    return app


async def serve(app, certificate: str | None, key: str | None) -> None:
    config = uvicorn.Config(
        app, port=0, loop="none", http="httptools", log_level="error", access_log=False,
        ssl_certfile=certificate, ssl_keyfile=key,
    )  # fmt: skip
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    print(f"ready {'https' if certificate else 'http'}://127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await task


if __name__ == "__main__":
    kind, folder, *tls = sys.argv[1:]
    made = {"raw": raw_app, "fastapi": fastapi_app}[kind](Path(folder))
    uvloop.run(serve(made, *(tls or (None, None))))
