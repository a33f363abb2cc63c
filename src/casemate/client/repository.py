"""In which commit of which state a script lies, where it lies in a Git repository: what its owner says, and nobody checks."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

_SECONDS = 10.0
# A repository's own configuration can name programs to start; none is, to ask for a commit.
_CAREFUL = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.pager=cat")


def repository_of(script: Path) -> dict[str, Any]:
    """`commit`, `dirty` (whether tracked files differ from it, or the script is none of them) and the script's `path`.

    Empty where it lies in no repository, nothing was committed, or Git is not installed.
    """
    git, folder = shutil.which("git"), script.absolute().parent
    if git is None:
        return {}
    top, commit = _asked(git, folder, "rev-parse", "--show-toplevel"), _asked(git, folder, "rev-parse", "HEAD")
    changed = _asked(git, folder, "status", "--porcelain", "--untracked-files=no")
    if not top or not commit or changed is None:
        return {}
    known = _asked(git, folder, "ls-files", "--error-unmatch", "--", script.name) is not None
    path = str((folder.resolve() / script.name).relative_to(Path(top).resolve()))
    return {"commit": commit, "dirty": bool(changed) or not known, **({"path": path} if path.isprintable() else {})}


def _asked(git: str, folder: Path, *words: str) -> str | None:
    """What it answers; None where it does not."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 its path was found, and its words are ours
            [git, *_CAREFUL, *words],
            cwd=folder,
            env={**environment, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
