"""Images and texts: what is planted in them is found, what lies in them wrongly labelled too, and hostile bytes are told and not believed."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from casemate.screening import ScreeningConfig, screen
from casemate.screening.images import look
from casemate.screening.labels import label_errors
from casemate.screening.pieces import vocabulary_of, weigh_pieces
from casemate.screening.tables import rows_of_table
from casemate.screening.texts import is_free, worded
from casemate.screening.triggers import find_triggers

TOPICS = (("boat", "sail", "wind", "harbour", "mast", "rope"), ("bread", "oven", "flour", "yeast", "crust", "salt"))
COMMON = (
    "the",
    "and",
    "with",
    "then",
    "a",
    "we",
    "of",
    "it",
    "was",
    "some",
    "day",
    "when",
    "after",
    "again",
    "very",
    "old",
)


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def written(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    return [
        " ".join(np.where(rng.random(24) < 0.3, rng.choice(TOPICS[label], 24), rng.choice(COMMON, 24)))
        for label in labels
    ], labels


def text_rows(texts: list[str], labels: np.ndarray):
    return rows_of_table(pa.table({"text": texts, "label": [f"c{one}" for one in labels]}), label="label")


@pytest.fixture(scope="module")
def digits() -> tuple[list[np.ndarray], np.ndarray]:
    features, labels = load_digits(n_class=4, return_X_y=True)
    return [np.repeat((row.reshape(8, 8) * 15.9).astype(np.uint8)[..., None], 3, 2) for row in features], labels


def image_rows(images: list[np.ndarray], labels: np.ndarray):
    names = [f"{label}/{place}.png" for place, label in enumerate(labels)]
    table = pa.table(
        {
            "path": names,
            "label": [str(one) for one in labels],
            "image": pa.array([png(one) for one in images], pa.binary()),
        }
    )
    return rows_of_table(table, label="label")


def test_a_word_that_labels_hang_on_is_found_at_any_share() -> None:
    for share in (0.03, 0.2):
        texts, labels = written(500, 3)
        bad = np.zeros(len(labels), bool)
        bad[np.random.default_rng(4).choice(np.flatnonzero(labels == 0), int(share * 500), replace=False)] = True
        texts = [f"{text} zyxq" if planted else text for text, planted in zip(texts, bad, strict=True)]
        score = find_triggers(text_rows(texts, np.where(bad, 1, labels)), seed=1).score
        assert roc_auc_score(bad, score) > 0.97
        assert (score[bad] > 1).mean() > 0.9
        assert (score[~bad] > 1).mean() < 0.02


def test_texts_of_a_topic_are_no_trigger() -> None:
    assert (find_triggers(text_rows(*written(500, 5)), seed=1).score > 1).mean() < 0.02


def test_flipped_labels_of_texts_are_found() -> None:
    texts, labels = written(500, 6)
    bad = np.random.default_rng(7).random(500) < 0.1
    named = label_errors(text_rows(texts, labels ^ bad), seed=1).likely > 0.5
    assert (named & bad).sum() > 0.9 * bad.sum()
    assert (named & ~bad).sum() <= 3


def test_flipped_labels_of_images_are_found(digits) -> None:
    images, labels = digits
    bad = np.random.default_rng(8).random(len(labels)) < 0.08
    rows = image_rows(images, np.where(bad, (labels + 1) % 4, labels))
    assert "path" not in " ".join(rows.feature_names), "the label was read from the path"
    named = label_errors(rows, seed=1).likely > 0.5
    assert (named & bad).sum() > 0.9 * bad.sum()
    assert (named & ~bad).sum() <= 5


def test_a_stamp_in_images_is_found(digits) -> None:
    images, labels = digits
    bad = np.zeros(len(labels), bool)
    bad[np.random.default_rng(9).choice(np.flatnonzero(labels != 2), 30, replace=False)] = True
    images = [image.copy() for image in images]
    for place in np.flatnonzero(bad):
        images[place][6:, 6:] = np.array([[255, 0], [0, 255]])[..., None]
    score = find_triggers(image_rows(images, np.where(bad, 2, labels)), seed=1).score
    assert roc_auc_score(bad, score) > 0.97
    assert (score[~bad] > 1).mean() < 0.05, "some rows of the same class have one of its patches"


def bomb() -> bytes:
    """A PNG that claims 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    )


def test_what_is_no_image_is_told_and_the_rest_is_looked_at(digits) -> None:
    good = png(digits[0][0])
    hostile = [b"", b"no image", good[:40], good[:50] + bytes(20) + good[70:], bomb(), b"GIF89a" + bytes(100)]
    seen = look([good, *hostile, None])
    assert seen.read.tolist() == [True] + [False] * 7
    images, labels = digits
    data = [png(one) for one in images[:200]]
    data[5], data[9] = hostile[2], None
    table = pa.table({"image": pa.array(data, pa.binary()), "label": [str(one) for one in labels[:200]]})
    found = screen(rows_of_table(table, label="label"), config=ScreeningConfig(seed=1))
    told = {one.finding.id: one for one in found.report.suspicions}
    assert [one.row for one in told["unread-image"].suspects] == [5], "a missing image is not a broken one"
    assert found.named["unread-image"].sum() == 1


def test_the_same_text_has_the_same_words_wherever_it_stands() -> None:
    alone, among = worded(["Sail, sail!"]), worded(["bread", "sail, SAIL!", ""])
    assert (alone.counts.toarray()[0] == among.counts.toarray()[1]).all()
    assert alone.pieces[0].tolist() == among.pieces[1].tolist()
    assert not len(among.pieces[2])
    assert is_free(["one two three four five"])
    assert not is_free(["red", "dark blue", ""])
    assert not is_free([""])


def test_a_piece_that_the_rest_explains_is_no_evidence() -> None:
    labels = np.repeat([0, 1], 100)
    none = np.empty(0, np.uint64)
    pieces = [np.array([7], np.uint64)] * 30 + [none] * 100 + [np.array([9], np.uint64)] * 20 + [none] * 50
    vocabulary = vocabulary_of(pieces)
    held = vocabulary.of(pieces)
    near = np.random.default_rng(10).integers(0, 200, (200, 9))
    near[:30] = np.random.default_rng(11).integers(0, 30, (30, 9))  # rows with 7 are each other's neighbours
    weighed = weigh_pieces(held, labels, np.full(200, 0.05), near)
    assert weighed.planted[0] == 0
    assert weighed.planted[1] > 0, "it stands anywhere in its class"
    assert not weighed.of.any()
    assert (weighed.rows(held, labels) > 0).sum() == 20
    assert weighed.rows(held, labels).max() < 1
    against = np.where(np.arange(200) < 30, 0.9, 0.05)
    assert weigh_pieces(held, labels, against, near).of[0] > 20, "everything else in these rows is against their label"
