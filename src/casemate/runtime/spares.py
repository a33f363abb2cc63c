"""Workers in reserve: behind their walls, their libraries loaded, and still empty."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping

from casemate.core import SandboxError, SealedFile, ServedFile
from casemate.runtime.config import PoolConfig
from casemate.runtime.formats import entry_of
from casemate.runtime.startup import Started, start_worker
from casemate.sandbox import Cell, spawn


class Spares:
    """At most one for each runtime that was asked for. Each has seen no foreign byte, is used once, and is replaced.

    Importing scikit-learn takes over a second, loading a model a few hundredths: with a spare, that is all that a deploy,
    a rollback or the return after a crash waits for. An idle one takes 100 MB for skops, 30 MB for ONNX.
    """

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._idle: dict[str, Cell] = {}
        self._coming: set[str] = set()
        self._closed = False

    def start_worker(self, files: Mapping[str, SealedFile], served: ServedFile) -> Started:
        """As `startup.start_worker`, in the spare where one stands. Blocks. Raises: as that does."""
        config = self._config
        try:
            return start_worker(
                files,
                served,
                limits=config.limits,
                threads=config.threads,
                timeout=config.start_seconds,
                insecure=config.insecure_no_sandbox,
                cell=self._take(served),
            )
        finally:
            self._refill(served)

    def close(self) -> None:
        """End them all, those under way included, and make no more."""
        with self._lock:
            self._closed = True
            idle, self._idle = list(self._idle.values()), {}
        for cell in idle:
            cell.__exit__()

    def _take(self, served: ServedFile) -> Cell | None:
        with self._lock:
            cell = self._idle.pop(served.runtime, None)
        if cell is None or cell.alive:
            return cell
        cell.__exit__()
        return None

    def _refill(self, served: ServedFile) -> None:
        runtime = served.runtime
        with self._lock:
            if self._closed or runtime in self._coming or runtime in self._idle:
                return
            self._coming.add(runtime)
        try:
            threading.Thread(target=self._make, args=(served,), name="casemate-spare", daemon=True).start()
        except RuntimeError:  # no thread to be had: the next start makes its own worker
            self._coming.discard(runtime)

    def _make(self, served: ServedFile) -> None:
        cell = None
        with contextlib.suppress(
            SandboxError, OSError, RuntimeError
        ):  # whoever needs a worker next is told why there can be none
            cell = spawn(entry_of(served), limits=self._config.limits, insecure=self._config.insecure_no_sandbox)
        with self._lock:
            self._coming.discard(served.runtime)
            if cell is not None and not self._closed:
                self._idle[served.runtime] = cell
                return
        if cell is not None:
            cell.__exit__()
