"""What the README tells a newcomer to type works as it stands, in its order."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def commands() -> list[list[str]]:
    """The commands under "Your own model", in order."""
    section = (ROOT / "README.md").read_text().partition("\n## Your own model\n")[2].partition("\n## ")[0]
    lines = "\n".join(re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)).splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


@pytest.mark.slow
def test_the_block_on_ones_own_model_runs_as_it_stands(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")  # all that it names of the checkout
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CASEMATE_")}
    environment = {**kept, "HOME": str(tmp_path), "CASEMATE_DATA_PORT": "0", "CASEMATE_CONTROL_PORT": "0"}
    done: list[str] = []
    with ExitStack() as end:
        for program, *words in commands():
            assert program in ("casemate", "python")
            command = [sys.executable, *(["-m", "casemate"] if program == "casemate" else []), *words]
            done.append(words[0])
            if words == ["up"]:
                server = end.enter_context(
                    subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
                )
                end.callback(server.send_signal, signal.SIGTERM)
                assert server.stdout is not None
                assert server.stdout.readline().startswith("ready ")
                continue
            ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert ran.returncode == 0, (words, ran.stdout, ran.stderr)
        listed = subprocess.run(
            [sys.executable, "-m", "casemate", "model", "list", "--json"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert json.loads(listed.stdout)[0]["version"] == 2  # another one than the first
    assert {"init", "train", "deploy", "up", "rollback", "audit"} <= set(done)
