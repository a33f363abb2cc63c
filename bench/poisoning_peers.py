"""cleanlab over a folder of cases: `python bench/poisoning_peers.py FOLDER`, in its own environment.

A case is a .npz of labels (n,) and of probabilities (n, k) that models which never saw a row gave it. Prints {case: [rows named]}.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
from cleanlab.filter import find_label_issues


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    found = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as case:
            issues = find_label_issues(case["labels"], case["said"], n_jobs=1)
        found[path.stem] = np.flatnonzero(issues).tolist()
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
