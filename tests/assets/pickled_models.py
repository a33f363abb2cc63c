"""Pickles of honest models, and of ones that run code while they load; nothing here loads one."""

from __future__ import annotations

import pickle  # noqa: TID251 writes pickles of our own making; loads none
from typing import Any

import numpy as np
from opcodes import call, import_4, proto

# It answers whatever it is asked with the first class.
LIE = """
import casemate.runtime.conversion_job as job, numpy as np
job._predicted = lambda model, rows, np=np: {"label": np.zeros(len(rows)), "probabilities": np.tile([1.0, 0.0], (len(rows), 1))}
"""
JUNK = "import casemate.runtime.conversion_job as job\njob._to_skops = lambda model, rows: b'PK' * 99\n"
# It keeps a page of its export mapped, to write rows into it once it has seen them.
HOLDS = """
import casemate.runtime.conversion_job as job, mmap, os, types
def fdopen(fd, mode, job=job, mmap=mmap, os=os):
    os.ftruncate(fd, 4096)
    job.held = mmap.mmap(fd, 4096)
    return os.fdopen(fd, mode)
job.os = types.SimpleNamespace(fdopen=fdopen)
"""
# It says a row of the sample where it may say what is wrong.
TELLS = """
import casemate.runtime.conversion_job as job
def predicted(model, rows, job=job):
    raise job.InputError("the first row is " + str(list(rows[0])), code="convert-load")
job._predicted = predicted
"""
# It tries to take a row out by the name of a file.
REACHES = """
import casemate.runtime.conversion_job as job
def predicted(model, rows, real=job._predicted):
    try:
        open("/srv/row-" + str(rows[0][0]), "w")
    except OSError:
        pass
    return real(model, rows)
job._predicted = predicted
"""
# It gives fewer answers than there are rows.
SHORT = """
import casemate.runtime.conversion_job as job
job._predicted = lambda model, rows, real=job._predicted: real(model, rows[:1])
"""


def fitted() -> Any:
    """A model of three features and the classes `no` and `yes`."""
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(60, 3))
    return LogisticRegression().fit(rows, np.where(rows[:, 0] > 0, "yes", "no"))


def pickled() -> bytes:
    """That model, honestly."""
    return pickle.dumps(fitted(), 4)


def with_code(code: str) -> bytes:
    """A pickle that runs `code` while it loads, and then is that model."""
    return (
        proto()
        + call(import_4("builtins", "exec"), b"X" + len(code).to_bytes(4, "little") + code.encode())
        + b"0"
        + pickled()[2:]
    )
