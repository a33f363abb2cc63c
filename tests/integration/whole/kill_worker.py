"""Acts on a home until it is killed; prints each acknowledged act as one JSON line. `python kill_worker.py HOME KEYS SEED`"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "assets"))
from tiny_models import ROWS, SCRIPT, doubling_model

from casemate.app.local import control_socket
from casemate.client import Casemate
from casemate.settings import load_settings


def tell(act: str, **result: Any) -> None:
    print(json.dumps({"act": act, **result}), flush=True)


class Actor:
    def __init__(self, casemate: Casemate, folder: Path, seed: int) -> None:
        self.casemate, self.folder, self.random = casemate, folder, random.Random(seed)

    def push(self) -> None:
        file = self.folder / "model.onnx"
        file.write_bytes(doubling_model(self.random.random()))
        result = self.casemate.push_model("double", file)
        tell("push", verdict=result["verdict"], version=result["version"], digest=result["digest"])
        self.casemate.approve(f"double@{result['version']}", environment="dev")
        tell("approve", version=result["version"])

    def dataset(self) -> None:
        file = self.folder / "rows.csv"
        file.write_text(ROWS + f"{self.random.random()},1,2,1\n")
        result = self.casemate.push_dataset("rows", file, target="label")
        tell("dataset", version=result["version"], digest=result["digest"])

    def train(self) -> None:
        script = self.folder / "train.py"
        script.write_bytes(SCRIPT)
        parameters = json.dumps({"factor": self.random.random()})
        result = self.casemate.train(script, dataset="rows@1", model="double", parameters=parameters)
        tell("push", verdict=result["verdict"], version=result["version"], digest=result["digest"])

    def deploy(self) -> None:
        approved = [row["version"] for row in self.casemate.models()]
        if approved:
            self.casemate.approve(f"double@{approved[0]}", environment="dev")
            result = self.casemate.deploy("twice", f"double@{approved[0]}")
            tell("deploy", version=result["version"])

    def rollback(self) -> None:
        if len(self.casemate.deployment("twice")["history"]) > 1:
            tell("deploy", version=self.casemate.rollback("twice")["version"])

    def key(self) -> None:
        tell("key", id=self.casemate.issue_key("caller", role="caller", deployment="twice", expires="1h")["id"])


def main() -> None:
    home, keys, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    folder = home.parent / f"work-{seed}"
    folder.mkdir(exist_ok=True)
    settings = load_settings({}, home=home, keys=keys)
    with control_socket(settings) as socket, Casemate(socket=socket) as casemate:
        actor = Actor(casemate, folder, seed)
        tell("ready")
        if not casemate.datasets():
            actor.dataset()
        actor.push()
        actor.deploy()
        acts = [actor.push, actor.deploy, actor.rollback, actor.train, actor.key, actor.dataset, actor.rollback]
        while True:
            try:
                actor.random.choice(acts)()
            except Exception as error:
                tell("error", error=f"{type(error).__name__}: {error}")
                if "nothing-earlier" not in str(getattr(error, "code", "")):
                    raise


if __name__ == "__main__":
    main()
