"""Images as numbers, without any model from elsewhere: what it shows, what stands where, and which small patches it holds.

Runs in the sandbox: PNG and JPEG are decoded here, by Pillow, each within bounds.
Source: for the gradients, Dalal and Triggs, Histograms of Oriented Gradients, 2005.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from casemate.screening.columns import Floats

PIXELS = 40_000_000  # of one image; a larger one is not looked at, and told
BYTES = 16 << 20  # of one image, as a push takes them
SIDE = 32  # pixels of the canvas that an image is shrunk or stretched to
HALVES = 8  # of what an image shows
_FREE = 512  # pixels a side, up to which patches are looked for as they lie
_PATCH = 4  # pixels a side
_CONTRAST = 48  # of 255, in a patch that is told from others
_LEVELS = 64  # of 255, that are one
_PATCHES = 256  # of one image, the most contrasted, wherever they lie
_BINS = 8  # of the direction of a gradient
_BLOCKS = 10  # of 16, that one view sees
_SHOWN = 40  # numbers that say what an image shows
_LEARNT = 4000  # images that these are learnt from, at most

Pixels = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.uint64]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """Images, as far as they could be read.

    Args:
        shows: float32 (n, 435): brightness in 16 x 16 cells, directions of gradients in 4 x 4, colours in 4 x 4 and their spreads.
        patches: n arrays of uint64, each code once. read: bool (n,); of what is not read all is NaN, and no patch is told.
    """

    shows: npt.NDArray[np.float32]
    patches: list[Codes]
    read: npt.NDArray[np.bool_]


def look(images: list[bytes | None]) -> Seen:
    """What these images show. One that is missing, broken or over a bound is not read."""
    shows = np.full((len(images), 435), np.nan, np.float32)
    patches: list[Codes] = []
    for number, data in enumerate(images):
        pixels = None if data is None else decoded(data)
        if pixels is None:
            patches.append(np.empty(0, np.uint64))
            continue
        canvas = _canvas(pixels)
        shows[number] = _shows(canvas)
        patches.append(np.unique(np.concatenate([_standing(canvas), _free(pixels)])))
    return Seen(shows=shows, patches=patches, read=np.isfinite(shows[:, 0]))


def decoded(data: bytes) -> Pixels | None:
    """uint8 (h, w, 3), at most 512 a side but for its shape; None: broken, of another format, or over a bound."""
    from PIL import Image

    if len(data) > BYTES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, none of which is used
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                width, height = image.size
                if width * height > PIXELS:
                    return None
                image.draft("RGB", (_FREE, _FREE))
                plain = image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
                step = max(1, -(-max(plain.size) // _FREE))
                return np.asarray(plain.reduce(step) if step > 1 else plain, np.uint8)
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError):
        return None  # Pillow raises each of these for bytes that are no image


def _canvas(pixels: Pixels) -> npt.NDArray[np.float32]:
    from PIL import Image

    height, width = pixels.shape[:2]
    how = Image.Resampling.NEAREST if max(height, width) <= SIDE else Image.Resampling.BOX
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), how), np.float32)


def _cells(plane: Any, count: int) -> Any:
    """(count, count, side, side) of a plane of the canvas."""
    side = SIDE // count
    return plane.reshape(count, side, count, side).swapaxes(1, 2)


def _bright(canvas: Any) -> Any:
    return canvas @ np.array([0.299, 0.587, 0.114], np.float32) / 255


def _shows(canvas: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    bright = _bright(canvas)
    down, across = np.gradient(bright)
    strength = np.hypot(down, across)
    bins = ((np.arctan2(down, across) % np.pi) / np.pi * _BINS).astype(int) % _BINS
    edges = np.stack([_cells(strength * (bins == b), 4).sum((2, 3)) for b in range(_BINS)], 2)
    edges = np.sqrt(edges / (np.sqrt((edges**2).sum()) + 1e-3))
    colours = [_cells(canvas[..., c] / 255, 4).mean((2, 3)).ravel() for c in range(3)]
    spreads = canvas.std((0, 1)) / 255
    whole = [_cells(bright, 16).mean((2, 3)).ravel() / 4, edges.ravel() / 2, *(c / 2 for c in colours), spreads]
    return np.concatenate(whole).astype(np.float32)


def _standing(canvas: npt.NDArray[np.float32]) -> Codes:
    """Patches of the canvas with the place that they stand in."""
    codes, contrast = _coded(canvas.astype(np.uint8))
    there = np.zeros_like(contrast, bool)
    there[::2, ::2] = True
    place = np.arange(codes.size, dtype=np.uint64).reshape(codes.shape) + np.uint64(1)
    return _mixed(codes ^ _mixed(place))[there & (contrast >= _CONTRAST)]


def _free(pixels: Pixels) -> Codes:
    """Patches as they lie, wherever."""
    if min(pixels.shape[:2]) < _PATCH:
        return np.empty(0, np.uint64)
    codes, contrast = _coded(pixels)
    flat, how = codes.ravel(), contrast.ravel()
    kept = np.flatnonzero(how >= _CONTRAST)
    # the most contrasted first, and of equals the lowest codes, so that the same patch is kept in every image
    kept = kept[np.lexsort((flat[kept], -(how[kept] // 32).astype(np.int64)))]
    ordered = flat[kept]
    new = np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)]
    return _mixed(ordered[new][:_PATCHES])


def _coded(pixels: Pixels) -> tuple[Codes, Pixels]:
    """The code of the patch that begins at each pixel: brightness in four levels, and the colour of the whole; its contrast."""
    red, green, blue = (pixels[..., c].astype(np.int16) for c in range(3))
    bright = ((red * 5 + green * 9 + blue * 2) >> 4).astype(np.uint8)
    levels = bright // _LEVELS
    across = [levels[:, x : levels.shape[1] - _PATCH + 1 + x] for x in range(_PATCH)]
    line = (across[0] << 6) | (across[1] << 4) | (across[2] << 2) | across[3]
    down = [line[y : len(line) - _PATCH + 1 + y].astype(np.uint64) << np.uint64(8 * y) for y in range(_PATCH)]
    code = down[0] | down[1] | down[2] | down[3]
    tints = [_slid(_slid(colour - green, 1, np.add), 0, np.add) // _PATCH**2 for colour in (red, blue)]
    shades = [np.clip((tint + 255 + _LEVELS // 2) // _LEVELS, 0, 15).astype(np.uint64) for tint in tints]
    contrast = _slid(_slid(bright, 1, np.maximum), 0, np.maximum) - _slid(_slid(bright, 1, np.minimum), 0, np.minimum)
    return (code << np.uint64(8)) | (shades[0] << np.uint64(4)) | shades[1], contrast


def _slid(plane: Any, axis: int, how: Any) -> Any:
    """Of each four that lie next to each other along an axis, their sum, largest or smallest."""
    count = plane.shape[axis] - _PATCH + 1
    first = [np.take(plane, range(step, step + count), axis) for step in (0, 1, 2, 3)]
    return how(how(first[0], first[1]), how(first[2], first[3]))


def _mixed(codes: Codes) -> Codes:
    """The same codes, spread over all 64 bits. Source: the finaliser of SplitMix64, Steele et al., 2014."""
    with np.errstate(over="ignore"):
        codes = (codes ^ (codes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        codes = (codes ^ (codes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(codes ^ (codes >> np.uint64(31)))


class Shapes(msgspec.Struct, frozen=True, kw_only=True):
    """What images show, as learnt from some. Args: middle: float32 (435,). axes: float32 (435, k), the main directions in which
    they differ. spreads: float64 (k,) in 0..1, how far, beside the first."""

    middle: npt.NDArray[np.float32]
    axes: npt.NDArray[np.float32]
    spreads: Floats

    def of(self, seen: Seen) -> Floats:
        """float64 (n, k), finite: what is not read stands in the middle."""
        return np.asarray(np.nan_to_num(seen.shows - self.middle) @ self.axes, np.float64)


def learn_shapes(seen: Seen, seed: int) -> Shapes:
    """By principal components of what could be read."""
    shows = seen.shows[seen.read]
    width = seen.shows.shape[1]
    if len(shows) < 2:
        return Shapes(
            middle=np.zeros(width, np.float32), axes=np.zeros((width, 1), np.float32), spreads=np.ones(1, np.float64)
        )
    middle = shows.mean(0)
    some = np.random.default_rng(seed).permutation(len(shows))[:_LEARNT]
    _, lengths, axes = np.linalg.svd(shows[some] - middle, full_matrices=False)
    spreads = lengths[:_SHOWN].astype(np.float64)
    return Shapes(middle=middle, axes=np.ascontiguousarray(axes[:_SHOWN].T), spreads=spreads / max(spreads[0], 1e-9))


def halves_of(seen: Seen, seed: int) -> list[Floats]:
    """HALVES times float64 (n, 270), finite: what ten of the 4 x 4 blocks show, drawn at random, so that no stamp is in all."""
    shows = np.nan_to_num(seen.shows).astype(np.float64)
    block = _block_of_each()
    found = []
    for half in range(HALVES):
        kept = np.random.default_rng([seed, half]).permutation(16)[:_BLOCKS]
        found.append(shows[:, np.isin(block, kept)])
    return found


def _block_of_each() -> npt.NDArray[np.int64]:
    """int64 (435,): the block of 4 x 4 that each number of `shows` is of; -1: of all."""
    fine = (np.arange(16)[:, None] // 4 * 4 + np.arange(16)[None, :] // 4).ravel()
    blocks = np.arange(16)
    return np.concatenate([fine, np.repeat(blocks, _BINS), blocks, blocks, blocks, np.full(3, -1)])
