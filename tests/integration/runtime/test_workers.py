"""Real models in the real sandbox: what they answer, and what happens when they do not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import models
import numpy as np
import pytest

from casemate.core import (
    Event,
    LimitError,
    SandboxError,
    ServedFile,
    Signature,
    TensorSpec,
    Verdict,
    VerificationError,
    seal_bytes,
)
from casemate.runtime import LiveModel, Pool, PoolConfig, describe
from casemate.sandbox import Limits
from casemate.scanning import scan

SMALL = Limits(memory=512 << 20, file_bytes=0, threads=64)
QUICK = PoolConfig(limits=SMALL, first_pause=0.05, request_seconds=5.0, linger_seconds=0.2)


class Stage:
    """A pool and what it told."""

    def __init__(self, config: PoolConfig = QUICK) -> None:
        self.events: list[Event] = []
        self.pool = Pool(sink=self.events.append, config=config)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def crash(self) -> None:
        """Kill the worker that was started last."""
        started = [event for event in self.events if event.kind == "worker.started"]
        os.kill(started[-1].facts["pid"], signal.SIGKILL)


def on_stage(play: Callable[[Stage], Awaitable[None]], config: PoolConfig = QUICK) -> Stage:
    async def run() -> Stage:
        stage = Stage(config)
        try:
            await play(stage)
        finally:
            await stage.pool.drain()
        return stage

    return asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 what is awaited lies in another process
            await asyncio.sleep(0.005)


async def answers_again(live: LiveModel, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Ask as a client does that heeds Retry-After."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await live.infer(inputs, batchable=True)
            except LimitError as error:
                assert error.retry_after > 0
                await asyncio.sleep(min(error.retry_after, 0.2))


def test_an_onnx_worker_predicts_as_the_model_does_here(signer: models.Signer) -> None:
    model, rows = models.fitted()

    async def play(stage: Stage) -> None:
        live = await stage.pool.replace("d", signer.verified({"model.onnx": models.diagnosis_onnx(model, rows)}))
        outputs = await live.infer({"X": rows.astype(np.float32)}, batchable=True)
        np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(rows), atol=1e-5)
        assert (outputs["label"] == model.predict(rows)).mean() == 1.0
        assert live.signature.inputs == (TensorSpec(name="X", datatype="FP32", shape=(-1, 30)),)

    on_stage(play)


def test_a_skops_worker_predicts_as_the_model_does_here(signer: models.Signer) -> None:
    model, rows = models.fitted()

    async def play(stage: Stage) -> None:
        live = await stage.pool.replace("d", signer.verified({"model.skops": models.diagnosis_skops(model)}))
        outputs = await live.infer({"X": rows}, batchable=True)
        np.testing.assert_allclose(outputs["probabilities"], model.predict_proba(rows), atol=1e-5)
        assert (outputs["label"] == model.predict(rows)).all()

    on_stage(play, PoolConfig(limits=Limits(memory=1 << 30, file_bytes=0)))


def test_weights_in_a_file_of_their_own_are_read_from_sealed_memory(signer: models.Signer) -> None:
    async def play(stage: Stage) -> None:
        live = await stage.pool.replace("d", signer.verified(models.weights_onnx()))
        outputs = await live.infer({"X": np.ones((2, 300), np.float32)}, batchable=True)
        assert outputs["y"].tolist() == [[44850.0], [44850.0]]

    on_stage(play)


def test_requests_that_wait_go_in_together_and_each_gets_its_own_rows(signer: models.Signer) -> None:
    model, rows = models.fitted()
    wide = rows.astype(np.float32)

    async def play(stage: Stage) -> None:
        live = await stage.pool.replace("d", signer.verified({"model.onnx": models.diagnosis_onnx(model, rows)}))
        pieces = [wide[start : start + 1 + start % 3] for start in range(0, 300, 3)]
        answers = await asyncio.gather(*(live.infer({"X": piece}, batchable=True) for piece in pieces))
        for piece, answer in zip(pieces, answers, strict=True):
            np.testing.assert_allclose(answer["probabilities"], model.predict_proba(piece), atol=1e-4)
        assert live._number < len(pieces) / 2

    on_stage(play)


def test_a_row_that_the_model_refuses_fails_alone(signer: models.Signer) -> None:
    async def play(stage: Stage) -> None:
        live = await stage.pool.replace("d", signer.verified({"model.onnx": models.picky_onnx()}))
        asked = [live.infer({"X": np.array([n])}, batchable=True) for n in (0, 1, 77, 2)]
        first, second, bad, last = await asyncio.gather(*asked, return_exceptions=True)
        assert [answer["y"].tolist() for answer in (first, second, last)] == [[10.0], [11.0], [12.0]]
        assert isinstance(bad, SandboxError)
        assert bad.code == "model-failed"
        assert stage.kinds() == ["worker.started"]

    on_stage(play)


def test_a_crashed_worker_is_replaced_and_who_waited_may_come_back(signer: models.Signer) -> None:
    one = {"X": np.ones((1, 1), np.float32)}

    async def play(stage: Stage) -> None:
        live = await stage.pool.replace("d", signer.verified({"model.onnx": models.constant_onnx(4)}))
        stage.crash()
        await until(lambda: not live.ready)
        with pytest.raises(LimitError) as refused:
            await live.infer(one, batchable=True)
        assert refused.value.code == "worker-restarting"
        assert (await answers_again(live, one))["y"].tolist() == [[4.0]]

    stage = on_stage(play)
    assert stage.kinds() == ["worker.started", "worker.crashed", "worker.started", "worker.stopped"]
    assert stage.events[1].facts["cause"] == "sandbox-crashed"


def test_the_pause_doubles_while_a_worker_keeps_crashing(signer: models.Signer) -> None:
    async def play(stage: Stage) -> None:
        await stage.pool.replace("d", signer.verified({"model.onnx": models.constant_onnx(4)}))
        for times in (1, 2, 3):
            stage.crash()
            await until(lambda times=times: stage.kinds().count("worker.started") == times + 1)

    stage = on_stage(play)
    assert [event.facts["pause"] for event in stage.events if event.kind == "worker.crashed"] == [0.05, 0.1, 0.2]


def test_a_hung_worker_is_killed_and_everybody_who_waited_is_told(signer: models.Signer) -> None:
    async def play(stage: Stage) -> None:
        live = await stage.pool.replace("d", signer.verified({"model.onnx": models.looping_onnx()}))
        endless = {"times": np.array(1 << 60)}
        asked = [live.infer(endless, batchable=False), live.infer({"times": np.array(3)}, batchable=False)]
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(answer, LimitError)
            assert answer.code == "worker-hung"
        assert (await answers_again(live, {"times": np.array(3)}))["y"].tolist() == [3.0]

    stage = on_stage(play, PoolConfig(limits=SMALL, first_pause=0.05, request_seconds=0.5))
    assert "worker.hung" in stage.kinds()


def test_a_request_that_wants_all_memory_gets_none_of_the_machines(signer: models.Signer) -> None:
    async def play(stage: Stage) -> None:
        live = await stage.pool.replace("d", signer.verified({"model.onnx": models.growing_onnx()}))
        with pytest.raises((SandboxError, LimitError)):
            await live.infer({"size": np.array([1 << 31])}, batchable=False)
        assert (await answers_again(live, {"size": np.array([5])}))["y"].item() == 0.0

    on_stage(play)


def test_replacing_under_load_fails_no_request(signer: models.Signer) -> None:
    one = {"X": np.ones((1, 1), np.float32)}
    seen: set[float] = set()

    async def play(stage: Stage) -> None:
        done = asyncio.Event()

        async def keep_asking() -> None:
            while not done.is_set():
                live = stage.pool.current("d")
                assert live is not None
                seen.add((await live.infer(one, batchable=True))["y"].item())

        await stage.pool.replace("d", signer.verified({"model.onnx": models.constant_onnx(1)}))
        callers = [asyncio.create_task(keep_asking()) for _ in range(8)]
        for number in (2, 3, 4):
            await stage.pool.replace("d", signer.verified({"model.onnx": models.constant_onnx(number)}, number=number))
            await until(lambda number=number: number in seen)
        done.set()
        await asyncio.gather(*callers)  # raises what any of them met

    stage = on_stage(play)
    assert seen == {1.0, 2.0, 3.0, 4.0}
    assert stage.kinds().count("worker.stopped") == 4


def test_a_version_that_does_not_load_leaves_the_old_one_serving(signer: models.Signer) -> None:
    one = {"X": np.ones((1, 1), np.float32)}

    async def play(stage: Stage) -> None:
        await stage.pool.replace("d", signer.verified({"model.onnx": models.constant_onnx(1)}))
        broken = signer.verified({"model.onnx": b"\x08not a graph"}, number=2)
        with pytest.raises(VerificationError) as refused:
            await stage.pool.replace("d", broken)
        assert refused.value.code == "model-load-failed"
        assert all(file.fd == -1 for file in broken.files.values())
        live = stage.pool.current("d")
        assert live is not None
        assert live.about.number == 1
        assert (await live.infer(one, batchable=True))["y"].item() == 1.0

    on_stage(play)


def test_a_model_that_is_not_what_its_signed_signature_says_does_not_serve(signer: models.Signer) -> None:
    other = Signature(
        inputs=(TensorSpec(name="X", datatype="FP32", shape=(-1, 2)),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=(-1, 1)),),
        runtime="onnx",
    )

    async def play(stage: Stage) -> None:
        with pytest.raises(VerificationError) as refused:
            await stage.pool.replace("d", signer.verified({"model.onnx": models.constant_onnx(1)}, signature=other))
        assert refused.value.code == "signature-mismatch"
        assert stage.pool.current("d") is None

    on_stage(play)


def test_a_full_queue_refuses_at_once(signer: models.Signer) -> None:
    async def play(stage: Stage) -> None:
        live = await stage.pool.replace("d", signer.verified({"model.onnx": models.looping_onnx()}))
        slow = {"times": np.array(200_000)}
        running = asyncio.create_task(live.infer(slow, batchable=False))
        while not live._running:  # noqa: ASYNC110 one turn of the loop, then the queue is empty again
            await asyncio.sleep(0)
        asked = [asyncio.create_task(live.infer(slow, batchable=False)) for _ in range(3)]
        answers = await asyncio.gather(running, *asked, return_exceptions=True)
        codes = [answer.code for answer in answers if isinstance(answer, LimitError)]
        assert codes == ["queue-full"]

    on_stage(play, PoolConfig(limits=SMALL, max_waiting=2, request_seconds=60.0))


def test_draining_finishes_what_was_begun_and_takes_nothing_new(signer: models.Signer) -> None:
    async def play(stage: Stage) -> None:
        live = await stage.pool.replace("d", signer.verified({"model.onnx": models.looping_onnx()}))
        begun = asyncio.create_task(live.infer({"times": np.array(1000)}, batchable=False))
        await asyncio.sleep(0)
        await stage.pool.drain()
        assert (await begun)["y"].tolist() == [1000.0]
        with pytest.raises(LimitError) as refused:
            await live.infer({"times": np.array(1)}, batchable=False)
        assert refused.value.code == "worker-stopped"

    on_stage(play)


def test_a_caller_that_leaves_disturbs_nobody(signer: models.Signer) -> None:
    one = {"X": np.ones((1, 1), np.float32)}

    async def play(stage: Stage) -> None:
        live = await stage.pool.replace("d", signer.verified({"model.onnx": models.constant_onnx(7)}))
        asked = [asyncio.create_task(live.infer(one, batchable=True)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in asked[::2]:
            task.cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(answer["y"].item() == 7.0 for answer in answers[1::2])
        assert live._waiting_bytes == 0

    on_stage(play)


@pytest.mark.parametrize(
    ("contents", "code"),
    [
        ({"model.onnx": b"\x08not a graph"}, "model-load-failed"),
        ({"model.skops": b"PK no archive"}, "model-load-failed"),
    ],
)
def test_what_does_not_load_is_described_by_a_code(contents: dict[str, bytes], code: str) -> None:
    with pytest.raises(VerificationError) as refused:
        describe({path: seal_bytes([data]) for path, data in contents.items()}, models.served_of(contents))
    assert refused.value.code == code


def test_what_no_runtime_loads_has_no_signature() -> None:
    assert describe({"model.safetensors": seal_bytes([b"x"])}, None) is None


def test_a_file_that_is_not_there_is_not_loaded() -> None:
    with pytest.raises(VerificationError) as refused:
        describe({"model.onnx": seal_bytes([b"x"])}, ServedFile(path="other.onnx", runtime="onnx"))
    assert refused.value.code == "model-format"


def test_what_is_loaded_is_what_was_scanned_whatever_the_names_say() -> None:
    contents = models.weights_onnx()
    files = {path: seal_bytes([data]) for path, data in contents.items()}
    files["graph"] = files.pop("model.onnx")
    report = scan(files)
    assert (report.verdict, report.served) == (Verdict.CLEAN, ServedFile(path="graph", runtime="onnx"))
    signature = describe(files, report.served)
    assert signature is not None
    assert (signature.runtime, signature.inputs[0].shape) == ("onnx", (-1, 300))


@pytest.mark.parametrize(
    ("folder", "weights"), [("", "weights.bin"), ("net/", "weights.bin"), ("a/b/", "data/weights.txt")]
)
def test_weights_of_their_own_are_found_beside_the_model(folder: str, weights: str) -> None:
    contents = models.weights_onnx(weights)
    files = {folder + path: seal_bytes([data]) for path, data in contents.items()}
    files |= {f"{folder}LICENSE": seal_bytes([]), "README.md": seal_bytes([]), "NOTICE": seal_bytes([b"none"])}
    signature = describe(files, ServedFile(path=f"{folder}model.onnx", runtime="onnx"))
    assert signature is not None
    assert signature.inputs[0].shape == (-1, 300)


def test_the_signed_path_and_runtime_are_served_beside_a_file_that_is_named_better(signer: models.Signer) -> None:
    """Even if the scan had let the other file through, the runtime does not choose."""
    contents = {"graph": models.constant_onnx(7), "m.skops": models.diagnosis_skops(models.fitted()[0])}
    verified = signer.verified(contents, served=ServedFile(path="graph", runtime="onnx"))

    async def ask(stage: Stage) -> None:
        live = await stage.pool.replace("d", verified)
        answer = await live.infer({"X": np.ones((1, 1), np.float32)}, batchable=False)
        assert answer["y"].tolist() == [[7.0]]
        assert live.signature.runtime == "onnx"

    on_stage(ask)


def test_a_version_without_a_model_that_a_runtime_loads_is_not_served(signer: models.Signer) -> None:
    verified = signer.verified({"model.safetensors": b"x"}, served=None)

    async def ask(stage: Stage) -> None:
        with pytest.raises(VerificationError) as refused:
            await stage.pool.replace("d", verified)
        assert refused.value.code == "model-format"

    on_stage(ask)


def test_a_type_off_the_allow_list_is_not_built() -> None:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    files = {"model.skops": seal_bytes([skops.io.dumps(FunctionTransformer(os.path.join))])}
    with pytest.raises(VerificationError) as refused:
        describe(files, models.served_of(files))
    assert refused.value.code == "model-load-failed"
    assert "Untrusted" in refused.value.message
