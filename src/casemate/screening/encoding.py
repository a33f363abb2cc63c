"""What each column of a table is to a screening, learnt once, so that any block of its rows becomes the same numbers.

Numbers, booleans and times are features as they are; a column of text with at most 32 values is a feature for each; one of
names or codes says how often its value occurs and how long it is; free texts say what they are about; images what they show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from casemate.core import InputError
from casemate.screening.columns import Bools, Floats, middles
from casemate.screening.images import Seen, Shapes, halves_of, learn_shapes, look
from casemate.screening.texts import Topics, Worded, is_free, learn_topics, worded

_FEW = 32  # values of a text column that get a feature each
_MOST = 200_000  # values of a column that are counted; of more, those of the first rows
CLIP = 80  # characters of a name in a message
_FOLDER = frozenset({"path", "label"})  # what `scanning` makes of a folder of files, beside these files


class Counts:
    """How often each value of each text column occurs, as blocks of rows go by. Args: names: of the columns that are looked at."""

    def __init__(self, schema: Any, names: Sequence[str]) -> None:
        import pyarrow.types as pt

        self.rows = 0
        self._found: dict[str, dict[str, int]] = {
            name: {} for name in names if pt.is_string(schema.field(name).type) and not _is_path(schema, name)
        }

    def add(self, block: Any) -> None:
        """Args: block: Arrow table or record batch."""
        import pyarrow.compute as pc

        self.rows += block.num_rows
        for name, known in self._found.items():
            column = block.column(name)
            said = pc.value_counts(pc.fill_null(column, ""))
            for value, count in zip(said.field("values").to_pylist(), said.field("counts").to_pylist(), strict=True):
                if value in known or len(known) < _MOST:
                    known[value] = known.get(value, 0) + count

    def of(self, name: str) -> dict[str, int]:
        return self._found[name]

    def only(self, names: Sequence[str]) -> Counts:
        """The same of these columns alone."""
        kept = copy(self)
        kept._found = {name: self._found[name] for name in names}  # noqa: SLF001 its own kind
        return kept


def _is_path(schema: Any, name: str) -> bool:
    """Whether it is the path of a file in a folder, which the label was read from, and which therefore says nothing else."""
    return name == "path" and set(schema.names) >= _FOLDER and bool({"image", "text"} & set(schema.names))


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Rows as numbers: the fields of `Rows` of these names."""

    features: Floats
    surface: Floats | None
    views: tuple[Floats, ...]
    pieces: list[npt.NDArray[np.uint64]] | None
    unread: Bools | None


class Encoding:
    """How the columns of one table become numbers. Built by `learn`; says the same of a row in whichever block it comes."""

    def __init__(self, counts: Counts, schema: Any, names: Sequence[str], sample: Any, *, seed: int) -> None:
        """Args: names: of the columns that are features. sample: Arrow table of rows to learn from, at least one."""
        import pyarrow.types as pt

        self._counts, self.names, self._seed = counts, tuple(names), seed
        self._kinds: dict[str, str] = {}
        for name in names:
            kind = schema.field(name).type
            if _is_path(schema, name):
                continue
            if pt.is_binary(kind) or pt.is_large_binary(kind):
                self._kinds[name] = "image"
            elif not pt.is_string(kind):
                self._kinds[name] = "number"
            elif len(counts.of(name)) <= _FEW:
                self._kinds[name] = "few"
            else:
                self._kinds[name] = "text" if is_free(as_text(sample.column(name))[:500].tolist()) else "many"
        if not self._kinds:
            raise InputError("There is no column beside the label: nothing can be compared.", code="screen-shape")
        self._counts = counts.only([name for name, kind in self._kinds.items() if kind in ("few", "many")])
        self._topics: dict[str, Topics] = {}
        self._shapes: dict[str, Shapes] = {}
        self._middles: Floats | None = None
        self._learnt: Block | None = self._learn(sample)

    def learnt(self) -> Block:
        """The sample, as numbers, without reading its texts and images again. Once: it is let go."""
        learnt, self._learnt = self._learnt, None
        assert learnt is not None
        return learnt

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Of the columns of `features`."""
        found: list[str] = []
        for name, kind in self._kinds.items():
            if kind == "number":
                found.append(name)
            elif kind == "few":
                found += [f"{name}={value[:CLIP]}" for value in sorted(self._counts.of(name))]
            elif kind == "many":
                found += [f"{name} (frequency)", f"{name} (length)"]
            elif kind == "text":
                width = self._topics[name].axes.shape[1]
                found += [f"{name} (length)", *(f"{name} (topic {k + 1})" for k in range(width))]
            else:
                found += [f"{name} (shape {k + 1})" for k in range(self._shapes[name].axes.shape[1])]
        return tuple(found)

    @property
    def weights(self) -> Floats | None:
        """float64 (d,): the main directions of texts and images count by how far they spread; None: there are none."""
        if not self.looks_inside:
            return None
        found: list[Floats] = []
        for name, kind in self._kinds.items():
            if kind == "text":
                found += [np.ones(1), self._topics[name].spreads]
            elif kind == "image":
                found.append(self._shapes[name].spreads)
            else:
                found.append(np.ones(2 if kind == "many" else len(self._counts.of(name)) if kind == "few" else 1))
        return np.concatenate(found)

    @property
    def has_images(self) -> bool:
        """Whether a block says which of its images could not be read."""
        return "image" in self._kinds.values()

    @property
    def looks_inside(self) -> bool:
        """Whether there are texts or images."""
        return bool({"text", "image"} & set(self._kinds.values()))

    def encode(self, block: Any) -> Block:
        """Args: block: Arrow table or record batch with the columns that were learnt."""
        return self._put_together(block, *self._read(block))

    def _learn(self, sample: Any) -> Block:
        seen, words = self._read(sample)
        for name, images in seen.items():
            self._shapes[name] = learn_shapes(images, self._seed)
        for name, texts in words.items():
            self._topics[name] = learn_topics(texts.counts, self._seed)
        plain = [self._plain(sample.column(name), name) for name in self._plain_names()]
        self._middles = _middles_of(plain)
        return self._put_together(sample, seen, words)

    def _plain_names(self) -> list[str]:
        return [name for name, kind in self._kinds.items() if kind in ("number", "few", "many")]

    def _read(self, block: Any) -> tuple[dict[str, Seen], dict[str, Worded]]:
        """What is dear, and done once: images decoded, texts parted into words."""
        seen = {name: look(block.column(name).to_pylist()) for name, kind in self._kinds.items() if kind == "image"}
        words = {
            name: worded(as_text(block.column(name)).tolist()) for name, kind in self._kinds.items() if kind == "text"
        }
        return seen, words

    def _put_together(self, block: Any, seen: dict[str, Seen], words: dict[str, Worded]) -> Block:
        features: list[Floats] = []
        surface: list[Floats] = []
        place = 0
        for name, kind in self._kinds.items():
            if kind in ("number", "few", "many"):
                part = self._plain(block.column(name), name)
                assert self._middles is not None
                part = np.where(np.isfinite(part), part, self._middles[place : place + part.shape[1]])
                place += part.shape[1]
                features.append(part)
                surface.append(part)
            elif kind == "text":
                lengths = np.log1p(np.asarray(words[name].counts.sum(1), np.float64))
                features += [lengths, self._topics[name].of(words[name].counts)]
            else:
                features.append(self._shapes[name].of(seen[name]))
        unread = None
        for name, images in seen.items():
            missing = np.asarray(block.column(name).is_null()).astype(bool)
            unread = (~images.read & ~missing) | (np.zeros(len(missing), bool) if unread is None else unread)
        inside = self.looks_inside
        return Block(
            features=np.hstack(features),
            surface=(np.hstack(surface) if surface else np.zeros((block.num_rows, 0))) if inside else None,
            views=self._views(seen, words),
            pieces=_together([*(one.patches for one in seen.values()), *(one.pieces for one in words.values())]),
            unread=unread,
        )

    def _views(self, seen: dict[str, Seen], words: dict[str, Worded]) -> tuple[Floats, ...]:
        each = [halves_of(images, self._seed) for images in seen.values()]
        each += [self._topics[name].views(texts.counts) for name, texts in words.items()]
        return tuple(np.hstack(views) for views in zip(*each, strict=True))

    def _plain(self, column: Any, name: str) -> Floats:
        """float64 (n, k) of a column without texts or images; what is missing is not finite."""
        kind = self._kinds[name]
        if kind == "number":
            return as_numbers(column)[:, None]
        values = as_text(column)
        counts = self._counts.of(name)
        if kind == "few":
            return np.asarray(values[:, None] == np.array(sorted(counts))).astype(np.float64)
        often = np.array([counts.get(value, 1) for value in values.tolist()], np.float64)
        return np.column_stack([np.log(often), np.log1p(np.char.str_len(values).astype(np.float64))])


def _together(parts: list[list[npt.NDArray[np.uint64]]]) -> list[npt.NDArray[np.uint64]] | None:
    if len(parts) < 2:
        return parts[0] if parts else None
    return [np.unique(np.concatenate(row)) for row in zip(*parts, strict=True)]


def _middles_of(plain: Iterable[Floats]) -> Floats:
    parts = list(plain)
    return middles(np.hstack(parts)) if parts else np.empty(0)


def as_numbers(column: Any) -> Floats:
    """float64 (n,); a missing value is NaN, a time its number. Raises: InputError: it is text."""
    import pyarrow as pa
    import pyarrow.types as pt

    if pt.is_string(column.type):
        raise InputError("The column for the time holds text: write it as times or numbers.", code="screen-column")
    if pt.is_temporal(column.type):
        column = column.cast(pa.int32() if pt.is_date32(column.type) else pa.int64())
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def as_text(column: Any) -> npt.NDArray[Any]:
    """(n,) of str; a missing value is the empty text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(column.cast(pa.string()), "").to_numpy(zero_copy_only=False)).astype(str)
