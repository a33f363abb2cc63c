"""The process that speaks with Ray, for one screening. It holds parcels, and no row; its standard input is the socket of `ray_judges`."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NoReturn

import msgspec

from casemate.core import CasemateError, SandboxError, UpstreamError
from casemate.sandbox import Channel
from casemate.screening.build import build
from casemate.screening.ray_address import (
    RayAddress,
    is_guarded,
    is_loopback,
    open_to_others,
    parse_ray_address,
    unreachable,
)
from casemate.screening.ray_line import trouble
from casemate.screening.ray_worker import DESK, Desk, Judging, Trouble

_LOSSES = 8  # nodes or workers that may be lost in a screening; the blocks that they had go to others
_STUCK = 600  # seconds without a block until the pipeline is taken for stuck
_LET_IN, _ASKED = 7, 8  # exit codes of a probe that came without a token
_PROBE = "from casemate.screening.ray_driver import probe; probe()"
_PROBED = 60.0  # seconds
_ANSWERED = 20.0  # seconds for a list of nodes


def main() -> NoReturn:
    channel = Channel(socket.socket(fileno=os.dup(0)))
    try:
        start = channel.recv()
        _Driver(channel, start.message["address"], key=bytes(start.buffers[0])).run()
    except CasemateError as error:
        _tell(channel, {"code": error.code, "message": error.message})
    except Exception as error:  # noqa: BLE001 whatever Ray raises, who waits must learn of it
        said = (
            f"Ray failed ({type(error).__name__}): look into its log, /tmp/ray/session_latest/logs, then screen again."
        )
        _tell(channel, {"code": "ray-failed", "message": said})
    sys.stdout.flush()
    os._exit(0)  # Ray's threads end with it, and its cluster lets go of what this process held


def probe() -> NoReturn:
    """Ask a cluster for its nodes without its token. Exits 7 when it answers, and 8 when it asks for one."""
    from ray.exceptions import AuthenticationError

    try:
        _addresses(sys.argv[1])
    except AuthenticationError:
        os._exit(_ASKED)
    os._exit(_LET_IN)


class _Driver:
    def __init__(self, channel: Channel, address: str, *, key: bytes) -> None:
        self._channel, self._key = channel, key
        self._address = parse_ray_address(address)
        self._namespace = f"casemate-{secrets.token_hex(8)}"
        self._left: dict[int, Any] = {}  # references to the parcels of blocks that are not judged yet
        self._fitted: Any = None

    def run(self) -> None:
        import ray

        try:
            before = _addresses(str(self._address))
            self._refuse_open(before)
            ray.init(str(self._address), namespace=self._namespace, log_to_driver=False, logging_level="CRITICAL")
            if others := {str(node["NodeManagerAddress"]) for node in _alive()} - set(before):
                self._refuse_open(others)  # who came meanwhile
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise unreachable(self._address) from error
        self._channel.send({})  # it is connected
        try:
            self._take()
        except SandboxError:  # who asked has left
            return
        _keep_quiet()
        self._desk = self._opened_desk()  # it lives as long as somebody holds it
        self._judge_all()
        self._channel.recv()  # until who asked has left: the cluster holds nothing after that

    def _refuse_open(self, nodes: Iterable[str]) -> None:
        """The head may be named by its loopback address, and be open to others all the same. Raises: PolicyError `ray-open`."""
        others = [one for one in nodes if not is_loopback(one)]
        if others and not is_guarded(os.environ, here=False):
            raise open_to_others(f"The node {others[0]} of the Ray cluster", here=False)
        _refuse_who_asks_for_no_token(self._address, here=not others and self._address.here)

    def _take(self) -> None:
        """Parcels, until all are there."""
        import pyarrow as pa
        import ray

        while True:
            frame = self._channel.recv()
            if "begin" in frame.message:
                return
            number, parcel = frame.message["number"], bytes(frame.buffers[0])
            if frame.message["give"] == "fitted":
                self._fitted = ray.put(parcel)
            else:
                columns = {"number": pa.array([number], pa.int64()), "parcel": pa.array([parcel], pa.large_binary())}
                self._left[number] = ray.put(pa.table(columns))

    def _opened_desk(self) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        desk = ray.remote(Desk).options(name=DESK, num_cpus=0, scheduling_strategy=here, max_concurrency=8).remote()
        ray.get(desk.keep.remote(self._key, [self._fitted]))
        return desk

    def _judge_all(self) -> None:
        """Blocks whose node is lost go to the others. Raises: UpstreamError `ray-lost`, and what a node said."""
        losses = 0
        while self._left:
            try:
                for number, parcel in self._judged(list(self._left.values())):
                    self._channel.send({"judged": number}, [parcel])
                    del self._left[number]
            except Exception as error:
                losses += 1
                if not _is_loss(error):
                    raise
                if losses > _LOSSES or not _places():
                    raise _lost(losses) from error

    def _judged(self, references: list[Any]) -> Iterator[tuple[int, bytes]]:
        import ray.data

        places = max(1, min(_places(), len(references)))
        judged = ray.data.from_arrow_refs(references).map_batches(
            Judging,
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=places),
            num_cpus=1,
            fn_constructor_args=[self._namespace, build()],
            # A worker that cannot come back, since its place is gone, would be waited for: we begin anew.
            ray_remote_args_fn=lambda: {"max_restarts": 0, "max_task_retries": 0},
        )
        for answer in judged.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0):
            if said := answer.column("trouble")[0].as_py():
                raise _raised(said)
            yield answer.column("number")[0].as_py(), answer.column("parcel")[0].as_py()


def _addresses(where: str) -> list[str]:
    """Of the nodes of a cluster, which this process does not join."""
    from ray._raylet import GcsClient

    nodes = GcsClient(address=where).get_all_node_info(timeout=_ANSWERED)
    return [str(node.node_manager_address) for node in nodes.values()]


def _alive() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _places() -> int:
    """Processors of the nodes that are there."""
    return int(sum(node["Resources"].get("CPU", 0) for node in _alive()))


def _keep_quiet() -> None:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.enable_operator_progress_bars = context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = _STUCK


def _refuse_who_asks_for_no_token(address: RayAddress, *, here: bool) -> None:
    """That this process has a token says nothing of the cluster. Raises: PolicyError `ray-open`; UpstreamError `ray-unreachable`."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("RAY_AUTH_")}
    command = [sys.executable, "-P", "-s", "-c", _PROBE, str(address)]
    try:
        code = subprocess.run(  # noqa: S603 our own command
            command,
            env=environ | {"RAY_AUTH_MODE": "disabled"},
            cwd="/",
            check=False,
            timeout=_PROBED,
            capture_output=True,
        ).returncode
    except subprocess.TimeoutExpired as error:
        raise unreachable(address) from error
    if code == _LET_IN:
        raise open_to_others(str(address), here=here)
    if code != _ASKED:
        raise unreachable(address)


def _is_loss(error: BaseException | None) -> bool:
    """Whether a worker, its node or what lay there is gone."""
    from ray import exceptions

    gone = (
        exceptions.RayActorError,
        exceptions.NodeDiedError,
        exceptions.ObjectLostError,
        exceptions.WorkerCrashedError,
        exceptions.OutOfMemoryError,
    )
    while error is not None:
        if isinstance(error, gone):
            return True
        error = error.__cause__
    return False


def _lost(times: int) -> UpstreamError:
    return UpstreamError(
        f"The Ray cluster lost workers {times} times in the middle of the screening; nothing was recorded and no row is changed. "
        "Look with `ray status`, then screen again.",
        code="ray-lost",
    )


def _raised(data: bytes) -> CasemateError:
    """What a node said that it cannot judge by."""
    said = msgspec.json.decode(data, type=Trouble)
    return trouble(said.code, said.message)


def _tell(channel: Channel, message: dict[str, str]) -> None:
    with suppress(SandboxError):  # who asked has left
        channel.send(message)
