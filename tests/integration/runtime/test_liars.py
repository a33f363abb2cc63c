"""What a hostile model can make its worker say, from behind the real walls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import liars
import models
import numpy as np
import pytest

from casemate.core import LimitError, SandboxError, ServedFile, VerificationError
from casemate.runtime import Pool, PoolConfig, describe, startup
from casemate.sandbox import spawn

Lie = Callable[[str], None]
SERVED = ServedFile(path="model.onnx", runtime="onnx")


@pytest.fixture
def lie(monkeypatch: pytest.MonkeyPatch) -> Lie:
    """Workers become one of the liars, as a model that took its worker over would make them."""

    def become(liar: str) -> None:
        monkeypatch.setattr(startup, "entry_of", lambda _: f"liars:{liar}")
        monkeypatch.setattr(startup, "spawn", partial(spawn, paths=[Path(__file__).parent]))

    return become


@pytest.mark.parametrize(("most", "code"), [(liars.TEXTS, ""), (liars.TEXTS - 1, "worker-crashed")])
def test_an_answer_of_countless_texts_holds_nobody_up(signer: models.Signer, lie: Lie, most: int, code: str) -> None:
    lie("answer_many_texts")

    async def ask() -> int:
        pool = Pool(sink=lambda _: None, config=PoolConfig(max_answer_texts=most))
        live = await pool.replace("d", signer.verified({"model.onnx": b"taken over"}))
        try:
            return len((await live.infer({"X": np.ones((1, 1), np.float32)}, batchable=False))["y"])
        finally:
            await pool.drain()

    if not code:
        assert asyncio.run(ask()) == liars.TEXTS
        return
    with pytest.raises(LimitError) as refused:
        asyncio.run(ask())
    assert refused.value.code == code


def test_a_first_answer_brings_no_bytes_to_keep(lie: Lie) -> None:
    lie("begin_with_ballast")
    with pytest.raises(SandboxError) as refused:
        describe({"model.onnx": models.seal_bytes([b"taken over"])}, SERVED)
    assert refused.value.code == "sandbox-protocol"


def test_a_reason_that_is_no_text_is_not_shown(lie: Lie) -> None:
    lie("fail_at_length")
    with pytest.raises(VerificationError) as refused:
        describe({"model.onnx": models.seal_bytes([b"taken over"])}, SERVED)
    assert (refused.value.code, refused.value.message) == ("model-io", "The model does not load: ")
