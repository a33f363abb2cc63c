"""Training runs, as Python calls: `casemate.trainings`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from casemate.client.connection import Connection
from casemate.client.files import file_size
from casemate.client.paths import name_part, ref_path
from casemate.client.repository import repository_of
from casemate.core import CasemateError, new_id

News = Callable[[dict[str, Any]], None]
_BEGINS = 30.0  # seconds that a follower waits for its run
_ENDS = 5.0  # seconds for the last lines of a run that has ended


class TrainingCalls:
    """The calls of one client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(
        self,
        script: Path,
        *,
        dataset: str,
        model: str,
        base: str | None = None,
        parameters: str = "{}",
        purpose: str | None = None,
        seed: int | None = None,
        cpu: str | None = None,
        memory: str | None = None,
        time: str | None = None,
        hosts: Sequence[str] = (),
        gpu: bool = False,
        reason: str = "",
        follow: News | None = None,
    ) -> dict[str, Any]:
        """Run a training script in the sandbox and push the model that it writes.

        Args:
            base: The model version that it goes on from, which the script finds under CASEMATE_BASE.
            parameters: A JSON object.
            cpu, memory, time: At most so much, as in `2h`, `8G`, `1h`.
            hosts: `HOST:PORT` that the script is let out to, and to nothing else; who may is for a policy to say.
            gpu: Let it use the machine's graphics processors.
            follow: Called from another thread with each `{"log": line}` and `{"metrics": {name: number}}` as it comes.
        """
        file_size(script)
        run = new_id("run") if follow else None
        where = repository_of(script)
        query: dict[str, Any] = {
            "dataset": dataset,
            "base": base,
            "filename": script.name,
            "parameters": parameters,
            "purpose": purpose,
            "seed": seed,
            "cpu": cpu,
            "memory": memory,
            "time": time,
            "allow_host": list(hosts) or None,
            "gpu": "true" if gpu else None,
            "repository": json.dumps(where) if where else None,
            "run": run,
            "reason": reason,
        }
        with self._followed(model, run, follow):
            path = f"/models/{name_part(model)}/train"
            return self._connection.change("POST", path, query=query, content=script.read_bytes())

    def show(self, ref: str) -> dict[str, Any]:
        """What is signed of the run that made a version: from what, by whom, when, and each metric's last value."""
        return self._connection.get(f"/models/{ref_path(ref)}/training")

    def provenance(self, ref: str) -> dict[str, Any]:
        """`{"type", "envelope"}`: what was signed of the training of a version, to hand on with its files."""
        return self._connection.get(f"/models/{ref_path(ref)}/provenance")

    def output(self, ref: str, *, reason: str = "") -> dict[str, Any]:
        """`{"log", "metrics"}` of that run. A script can write rows into both: they leave the walls as the weights do."""
        return self._connection.get(f"/models/{ref_path(ref)}/training/output", {"reason": reason})

    @contextmanager
    def _followed(self, model: str, run: str | None, follow: News | None) -> Iterator[None]:
        if run is None or follow is None:
            yield
            return

        def hand_on() -> None:
            try:
                for news in self._connection.lines(f"/models/{name_part(model)}/runs/{run}", {"wait": str(_BEGINS)}):
                    follow(news)
            except CasemateError:  # the run's own answer says what is wrong
                return

        follower = threading.Thread(target=hand_on, name="casemate-follow", daemon=True)
        follower.start()
        yield
        follower.join(timeout=_ENDS)
