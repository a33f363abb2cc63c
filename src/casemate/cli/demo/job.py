"""The main job: from a table of real diagnoses to predictions through the public door."""

from __future__ import annotations

import csv
from pathlib import Path

from casemate.cli.demo.stage import DEPLOYMENT, Stage, StepError, clean, example, request
from casemate.client import Casemate

_HELD_BACK = 0.25  # share of the rows that training never sees; as in examples/train_diagnosis.py
_SEED = 7


def make_home(stage: Stage) -> str:
    from casemate.app.local import init_home

    made = init_home(stage.settings)
    stage.keys = Path(made["keys"])
    return f"{made['home']}, its keys in {made['keys']}"


def start(stage: Stage) -> str:
    line = stage.start()
    stage.control = Casemate(socket=stage.settings.home / "run" / "control.sock")
    return line


def push_dataset(stage: Stage) -> str:
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    data = load_breast_cancer()
    file = stage.folder / "diagnosis.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow([*(name.replace(" ", "_") for name in data.feature_names), "diagnosis"])
        writer.writerows([*row, label] for row, label in zip(data.data.tolist(), data.target.tolist(), strict=True))
    _, rows, _, labels = train_test_split(
        data.data, data.target, test_size=_HELD_BACK, random_state=_SEED, stratify=data.target
    )
    stage.rows, stage.labels = rows.tolist(), labels.tolist()
    result = clean(stage.control.push_dataset(DEPLOYMENT, file, target="diagnosis", reason="demo"))
    return f"{len(data.target)} rows of real diagnoses as {result['name']}@{result['version']}, encrypted"


def train(stage: Stage) -> str:
    result = clean(stage.control.train(example(), dataset=DEPLOYMENT, model=DEPLOYMENT, reason="demo"))
    return f"{result['name']}@{result['version']} {result['digest'][:19]}, scanned, signed, with its provenance"


def approve(stage: Stage) -> str:
    approval = stage.control.approve(f"{DEPLOYMENT}@1", environment="dev", reason="demo")
    return "signed" + (", recorded as self-approved" if approval["self_approved"] else "")


def deploy(stage: Stage) -> str:
    result = stage.control.deploy(DEPLOYMENT, f"{DEPLOYMENT}@1", reason="demo")
    issued = stage.control.issue_key("demo", role="caller", deployment=DEPLOYMENT, expires="1d", rate="2000/s")
    stage.key = issued["key"]
    return f"version {result['version']} serves at {stage.data} over TLS 1.3, in a sandbox"


def predict(stage: Stage) -> str:
    right = 0
    for row, label in zip(stage.rows, stage.labels, strict=True):
        answer = stage.infer(request([row]))
        if answer.status_code != 200:
            raise StepError(f"an honest row was answered {answer.status_code}: {answer.text[:200]}")
        outputs = {output["name"]: output["data"] for output in answer.json()["outputs"]}
        right += int(outputs["label"][0] == label)
    share = right / len(stage.labels)
    if share < 0.9:
        raise StepError(f"accuracy {share:.3f} on held-back rows")
    return f"accuracy {share:.3f} on {len(stage.labels)} held-back rows; receipt {answer.headers['casemate-receipt']}"
