"""The confined side of an evaluation: `main` is the only entry. The libraries are loaded here, before the last wall goes up."""

from __future__ import annotations

import mmap
import os
import warnings
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sklearn.ensemble
import sklearn.linear_model
import sklearn.neighbors
import sklearn.neural_network
import sklearn.pipeline
import sklearn.preprocessing
import sklearn.tree  # noqa: F401

from casemate.core.wire import Frame
from casemate.evaluation.answers import Ask, Floats, Oracle, RawAnswer
from casemate.evaluation.attacked import filled
from casemate.evaluation.evaluated import evaluate
from casemate.evaluation.fingerprints import as_plain, make_questions
from casemate.evaluation.naming import aligned, classes_of
from casemate.evaluation.report import Columns, EvaluationConfig
from casemate.evaluation.rows import rows_of_table
from casemate.sandbox import Asking

_LEARNT = 2000  # rows from which is learnt which column of the scores is which class


def main(frame: Frame, ask: Asking) -> Frame:
    """Evaluate on the Parquet table of the first descriptor; that of the second, if any, holds the training rows.
    message: {"columns", "config"}. Answer: the report. What it asks its parent: {"rows", "width"} and float64 bytes in C order."""
    columns = msgspec.convert(frame.message["columns"], Columns)
    config = msgspec.convert(frame.message["config"], EvaluationConfig)
    rows = rows_of_table(_table(frame.fds[0]), columns, config)
    members = None
    if len(frame.fds) > 1:
        known = msgspec.structs.replace(columns, features=rows.names, slices=(), groups=(), sensitive=())
        members = rows_of_table(_table(frame.fds[1]), known, config, what="The training dataset")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of fits that stop early, as they are told to
        report = evaluate(rows, asking(ask), columns=columns, config=config, members=members)
    return Frame(msgspec.to_builtins(report))


def fingerprint(frame: Frame, ask: Asking) -> Frame:
    """Choose the questions of a fingerprint, on the rows of the first descriptor. message: {"columns", "config", "count", "seed"}.
    Answer: {"classes", "answers", "agreed", "families", "chance", "rows", "width"} and the questions as float64 bytes."""
    columns = msgspec.convert(frame.message["columns"], Columns)
    config = msgspec.convert(frame.message["config"], EvaluationConfig)
    rows = rows_of_table(_table(frame.fds[0]), columns, config)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        classes = classes_of(rows.truth)
        answer = asking(ask)(rows.features[:_LEARNT])
        naming = aligned(classes, asking(ask), answer)
        oracle = Oracle(naming.ask, classes)
        oracle.learn_columns(naming.answer)
        truth = np.searchsorted(np.array(classes), rows.truth).astype(np.int64)
        message = frame.message
        made = make_questions(
            filled(rows.features), truth, oracle, count=message["count"], seed=int(message["seed"], 16)
        )
    queries = np.ascontiguousarray(made.queries, np.float64)
    told = {"classes": list(classes), "rows": queries.shape[0], "width": queries.shape[1], "features": list(rows.names)}
    return Frame({**told, **as_plain(made)}, [bytearray(queries.tobytes())])


def asking(ask: Asking) -> Ask:
    """The model, behind the parent."""

    def asked(rows: Floats) -> RawAnswer:
        given = np.ascontiguousarray(rows, np.float64)
        frame = ask({"rows": given.shape[0], "width": given.shape[1]}, [given.tobytes()])
        said = frame.message
        parts = dict(zip(said["parts"], frame.buffers, strict=True))
        labels = scores = values = None
        if "labels" in parts:
            labels = np.array(said["names"], dtype=str)[np.frombuffer(parts["labels"], np.int64)]
        if "scores" in parts:
            scores = np.frombuffer(parts["scores"], np.float64).reshape(len(given), -1)
        if "values" in parts:
            values = np.frombuffer(parts["values"], np.float64)
        return RawAnswer(labels=labels, scores=scores, values=values)

    return asked


def _table(descriptor: int) -> Any:
    size = os.fstat(descriptor).st_size
    data = pa.py_buffer(mmap.mmap(descriptor, size, access=mmap.ACCESS_READ))
    return pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False)
