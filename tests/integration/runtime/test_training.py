"""Training scripts, honest and hostile, behind the real walls."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer

from casemate.core import InputError, SealedFile, Verdict, seal_bytes, verdict_of
from casemate.runtime import TrainingResult, clean_scratch, findings_of, run_training, scratch
from casemate.sandbox import ExitReason, Limits

EXAMPLE = Path(__file__).parents[3] / "examples" / "train_diagnosis.py"
LIMITS = Limits(memory=2 << 30, cpu_seconds=60, wall_seconds=60, file_bytes=8 << 20)
SECRET = "a row that must not lie around 8d1f"


@pytest.fixture(scope="module")
def dataset() -> Iterator[dict[str, SealedFile]]:
    data = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in data.feature_names]
    table = pa.table({name: data.data[:, i] for i, name in enumerate(names)} | {"diagnosis": data.target})
    file = io.BytesIO()
    pq.write_table(table, file)
    columns = [{"name": name, "role": "feature"} for name in names] + [{"name": "diagnosis", "role": "target"}]
    schema = json.dumps({"schema": 1, "rows": len(data.target), "columns": columns, "note": SECRET}).encode()
    files = {"data.parquet": seal_bytes([file.getvalue()]), "schema.json": seal_bytes([schema])}
    yield files
    for sealed in files.values():
        sealed.close()


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place in memory that no other test uses."""
    with tempfile.TemporaryDirectory(dir=scratch.MEMORY, prefix="casemate-test-") as name:
        monkeypatch.setattr(scratch, "MEMORY", Path(name))
        yield Path(name)


def left_behind() -> list[Path]:
    return list(scratch.MEMORY.iterdir())


def run(script: str, dataset: dict[str, SealedFile] | None = None, **options: object) -> TrainingResult:
    result = run_training(script.encode(), dataset or {}, limits=LIMITS, **options)
    assert left_behind() == []
    return result


def ids(result: TrainingResult) -> set[str]:
    return {finding.id for finding in findings_of(result)}


def test_the_example_trains_a_model_that_predicts(dataset: dict[str, SealedFile]) -> None:
    lines: list[str] = []
    source = EXAMPLE.read_text()
    with (
        run(source, dataset, params={"C": 0.5}, log=lines.append) as result,
        run(source, dataset, params={"C": 0.5}) as again,
    ):
        assert findings_of(result) == []
        assert result.blocked == []
        files, same = dict(result.files), dict(again.files)
        metrics = json.loads(files["metrics.json"].read())
        assert metrics["accuracy"] > 0.95
        assert lines == [f"accuracy {metrics['accuracy']:.3f} on 143 held-back rows"]
        assert files["model.onnx"].digest == same["model.onnx"].digest
        rows, labels = load_breast_cancer(return_X_y=True)
        session = onnxruntime.InferenceSession(files["model.onnx"].read())
        predicted, _ = session.run(["label", "probabilities"], {"X": rows.astype(np.float32)})
        assert (predicted == labels).mean() > 0.95
        assert set(result.environment) == {"python", "platform", "casemate", "packages"}


HOSTILE = """
import os, pathlib, socket, subprocess, sys

def attempt(act):
    try:
        act()
    except OSError as error:
        print("stopped", type(error).__name__)
    else:
        print("BREACHED", act)

attempt(lambda: socket.create_connection(("127.0.0.1", 9), timeout=1))
attempt(lambda: open({key!r}).read())
attempt(lambda: pathlib.Path({outside!r}).write_text("out"))
attempt(lambda: os.execv("/bin/true", ["true"]))
attempt(os.fork)
attempt(lambda: subprocess.run(["/bin/true"]))
attempt(lambda: os.listdir(os.path.expanduser({home!r})))
attempt(lambda: os.kill(os.getppid() or 1, 9))
attempt(lambda: open(os.environ["CASEMATE_DATASET"] + "/data.parquet", "wb"))
attempt(lambda: os.unlink(os.environ["CASEMATE_DATASET"] + "/data.parquet"))
attempt(lambda: os.symlink({key!r}, os.environ["CASEMATE_OUTPUT"] + "/model.onnx"))
attempt(lambda: os.link({key!r}, os.environ["CASEMATE_OUTPUT"] + "/model.onnx"))
attempt(lambda: open("/proc/self/root" + {key!r}).read())
"""


def test_every_attempt_of_a_hostile_script_is_stopped_and_reported(
    dataset: dict[str, SealedFile], tmp_path: Path
) -> None:
    key, outside = tmp_path / "release.key", tmp_path / "outside"
    key.write_text("the private key")
    result = run(HOSTILE.format(key=str(key), outside=str(outside), home=str(tmp_path)), dataset)
    assert "BREACHED" not in result.log_tail
    assert result.log_tail.count("stopped") == 13
    assert not outside.exists()
    blocked = {(attempt["kind"], attempt["target"], attempt["mode"]) for attempt in result.blocked}
    assert ("socket", "AF_INET stream", "") in blocked
    assert ("open", str(key), "read") in blocked
    assert ("open", str(outside), "write") in blocked
    assert ("exec", "/bin/true", "") in blocked
    assert ("open", str(tmp_path), "read") in blocked
    assert {"fork", "signal"} <= {kind for kind, *_ in blocked}
    findings = findings_of(result)
    assert verdict_of(findings) is Verdict.REFUSED
    expected = {"training-socket", "training-exec", "training-fork", "training-read", "training-write"}
    assert expected <= {finding.id for finding in findings}
    assert any("/proc/self/root" in finding.evidence and finding.severity == "high" for finding in findings)


def test_a_script_that_raises_is_refused_with_its_own_last_line() -> None:
    result = run("def train():\n    raise RuntimeError('no such column')\n\ntrain()\n", filename="dir/mine.py")
    assert result.exit.reason is ExitReason.FAILED
    (finding,) = findings_of(result)
    assert (finding.id, finding.evidence) == ("training-failed", "line 2: RuntimeError: no such column")
    assert 'File "mine.py", line 4, in <module>' in result.log_tail
    assert "raise RuntimeError('no such column')" in result.log_tail
    assert "casemate" not in result.log_tail


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param("while True: pass", ExitReason.CPU, marks=pytest.mark.slow),
        pytest.param("import time; time.sleep(600)", ExitReason.TIMEOUT, marks=pytest.mark.slow),
        ("x = bytearray(8 << 30)", ExitReason.MEMORY),
        ("import ctypes; ctypes.string_at(0)", ExitReason.CRASHED),
        ("import sys; sys.exit(3)", ExitReason.FAILED),
        ("def f(:", ExitReason.FAILED),
    ],
)
def test_a_script_that_does_not_end_well_gives_nothing(script: str, reason: ExitReason) -> None:
    tight = {  # imports are in these
        ExitReason.CPU: {"cpu_seconds": 10, "wall_seconds": 300.0},
        ExitReason.TIMEOUT: {"wall_seconds": 15.0},
    }
    limits = msgspec.structs.replace(LIMITS, **tight.get(reason, {}))
    result = run_training(script.encode(), {}, limits=limits)
    assert result.exit.reason is reason
    assert result.files == []
    limited = reason in {ExitReason.CPU, ExitReason.TIMEOUT, ExitReason.MEMORY}
    assert ("training-limit" if limited else "training-failed") in ids(result)
    assert left_behind() == []


def test_a_device_is_reached_by_the_run_that_was_given_it_and_no_other() -> None:
    """/dev/full stands for one that is outside the walls otherwise."""
    script = """
import fcntl, os
try:
    fd = os.open("/dev/full", os.O_RDWR)
except OSError as error:
    print("closed", error.errno)
else:
    print("open", os.read(fd, 2))
    try:
        fcntl.ioctl(fd, 0xC0DE)
    except OSError as error:
        print("asked", error.errno)  # ENOTTY: its driver said so, no wall
"""
    with run(script, devices=[Path("/dev/full")]) as result:
        assert "open b'\\x00\\x00'" in result.log_tail, result.log_tail
        assert "asked 25" in result.log_tail
        assert result.blocked == []
    with run(script) as result:
        assert "closed" in result.log_tail


def test_a_script_without_a_model_is_refused() -> None:
    with run("open(__import__('os').environ['CASEMATE_OUTPUT'] + '/notes.txt', 'w').write('x')") as result:
        assert [path for path, _ in result.files] == ["notes.txt"]
        assert ids(result) == {"training-no-model"}


@pytest.mark.parametrize("end", ["", "raise SystemExit(0)"])
def test_what_a_script_wrote_and_never_closed_is_whole(end: str) -> None:
    script = f"""
import os
notes = open(os.environ["CASEMATE_OUTPUT"] + "/notes.txt", "w")
raw = open(os.environ["CASEMATE_OUTPUT"] + "/raw.txt", "wb")
metrics = open(os.environ["CASEMATE_METRICS"], "a")
notes.write("to the last word")
raw.write(b"to the last byte")
metrics.write('{{"loss": 0.5}}')
{end}
"""
    with run(script) as result:
        files = {path: file.read() for path, file in result.files}
        assert files == {"notes.txt": b"to the last word", "raw.txt": b"to the last byte"}
        assert result.last == {"loss": 0.5}


def test_sys_exit_0_is_a_good_end() -> None:
    script = "import os, sys\nopen(os.environ['CASEMATE_OUTPUT'] + '/m.onnx', 'wb').write(b'x')\nsys.exit(0)"
    with run(script) as result:
        assert findings_of(result) == []


def test_a_script_has_no_socket_in_which_to_park_descriptors() -> None:
    script = """
import os
held = []
for fd in os.listdir("/proc/self/fd"):
    try:
        held.append(os.readlink(f"/proc/self/fd/{fd}").partition(":")[0])
    except OSError:
        continue
print("socket" in held, "pipe" in held)
"""
    with run(script) as result:
        assert "False True" in result.log_tail


def test_its_folders_are_private_and_in_memory() -> None:
    script = """
import os, tempfile
for name in ("CASEMATE_OUTPUT", "HOME", "TMPDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"):
    assert os.environ[name].startswith("/dev/shm/casemate-test-"), name
    assert os.stat(os.environ[name]).st_mode & 0o777 == 0o700, name
assert tempfile.gettempdir() == os.environ["TMPDIR"]
assert os.getcwd() == os.environ["HOME"]
assert os.environ["CASEMATE_PARAMETERS"] == '{"a": [1, "two"]}'
assert not {"PATH", "USER", "SECRET_OF_THE_PARENT"} & set(os.environ)
import __main__
assert __name__ == "__main__" and __main__.__file__ == "train.py"
"""
    os.environ["SECRET_OF_THE_PARENT"] = "x"
    try:
        assert run(script, params={"a": [1, "two"]}).exit.reason is ExitReason.FINISHED
    finally:
        del os.environ["SECRET_OF_THE_PARENT"]


def test_what_a_script_prints_comes_live_and_is_bounded() -> None:
    lines: list[str] = []
    script = "import os\nprint('a\\x1b[31m\\tb')\nos.write(1, b'raw\\xff')\nprint('x' * 300_000)\nprint('last')"
    result = run(script, log=lines.append)
    assert len(result.log_tail) <= 64 << 10
    assert result.log_tail.endswith("last\n")
    assert lines[0] == "a?[31m?b"
    assert all(len(line) <= 2000 and line.isprintable() for line in lines)


def test_a_nest_of_folders_deeper_than_any_path_is_removed() -> None:
    script = """
import os
os.chdir(os.environ["CASEMATE_OUTPUT"])
for depth in range(1500):
    os.mkdir("d" * 20)
    os.chdir("d" * 20)
os.mkdir("closed", 0)
"""
    result = run(script)
    assert result.exit.reason is ExitReason.FINISHED
    assert "training-output-refused" in ids(result)


def test_a_run_whose_parent_is_killed_leaves_nothing_after_the_next_start(memory: Path) -> None:
    parent = """
from pathlib import Path
from casemate.core import seal_bytes
from casemate.runtime import run_training, scratch
scratch.MEMORY = Path("%s")
script = b"import os, time\\nopen(os.environ['CASEMATE_OUTPUT'] + '/x', 'w').write('%s')\\nprint('here', flush=True)\\ntime.sleep(600)"
run_training(script, {"schema.json": seal_bytes([b"%s"])}, log=lambda line: print(line, flush=True))
""" % (memory, SECRET, SECRET)  # noqa: UP031 braces and quotes abound
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        (folder,) = left_behind()
        assert clean_scratch() == 0  # it is in use
        process.send_signal(signal.SIGKILL)
    assert folder.exists()
    assert clean_scratch() == 1
    assert left_behind() == []


def test_no_dataset_lies_in_the_open_while_a_script_runs(dataset: dict[str, SealedFile]) -> None:
    found: list[bytes] = []

    def look(_: str) -> None:
        (folder,) = left_behind()
        for path in folder.rglob("*"):
            found.append(bytes(path.readlink()) if path.is_symlink() else b"")
            if path.is_file() and not path.is_symlink():
                found.append(path.read_bytes())

    script = "import os\nopen(os.environ['CASEMATE_DATASET'] + '/schema.json').read()\nprint('look')"
    run(script, dataset, log=look)
    assert b"/proc/self/fd/200" in found
    assert not any(SECRET.encode() in piece for piece in found)


@pytest.mark.parametrize(
    ("script", "options", "code"),
    [
        (b" ", {}, "bad-script"),
        (b"#" * (5 << 20), {}, "bad-script"),
        (b"pass", {"params": {"x": float("nan")}}, "bad-parameters"),
        (b"pass", {"params": {"x": object()}}, "bad-parameters"),
        (b"pass", {"params": {"x": "y" * 200_000}}, "bad-parameters"),
    ],
)
def test_what_cannot_be_run_is_refused_in_one_sentence(script: bytes, options: dict, code: str) -> None:
    with pytest.raises(InputError) as refused:
        run_training(script, {}, **options)
    assert refused.value.code == code


def test_a_dataset_file_is_a_plain_name() -> None:
    with seal_bytes([b"x"]) as file, pytest.raises(InputError) as refused:
        run_training(b"pass", {"../x": file})
    assert refused.value.code == "bad-dataset"
