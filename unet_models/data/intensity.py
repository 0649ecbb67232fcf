"""Which stored values become black and white, decided once for a whole data set.

A value ``v`` of an image becomes ``(v - low) / (high - low)``, 0 to 1, whatever file it comes from; patches keep it as a
whole number, 0 to 255 or 0 to 65535. Where ``grid.yaml`` says nothing, the range is that of the files' type, and content
that leaves most of that range empty is refused: 12-bit camera values in 16-bit files would become 16 grey levels in the
dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unet_models.data.content import Content, blocks, counted
from unet_models.data.errors import DataError
from unet_models.data.files.description import Description

# `auto`: these quantiles of the training part. One pixel in a thousand at each end is clipped: scale bars, hot pixels.
AUTO = (0.001, 0.999)
# Content that ends below this share of its type's range is refused. It is the step from 14 to 16 bits.
_FAR_BELOW = 0.25
# So is content that spans less than this share of it: 16 greys of 256. ImageJ keeps signed values from 32768 on.
_LEAST_SPAN = 1 / 16
_DARKEST_8_BITS = 16  # 8-bit files whose values all are below this hold 4-bit values, labels or a mask


@dataclass(frozen=True)
class Range:
    """The stored values that become 0 and ``levels``.

    Attributes:
        low: becomes 0; values below it, too.
        high: becomes ``levels``; values above it, too.
        levels: 255 or 65535, the largest value of a patch.
    """

    low: float
    high: float
    levels: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of patches: uint8 or uint16."""
        return np.dtype(np.uint8 if self.levels == 255 else np.uint16)


@dataclass
class Scaler:
    """Applies a :class:`Range`, and counts what it clips.

    ``clipped_low`` and ``clipped_high`` are numbers of pixels below ``low`` and above ``high``, of ``pixels``.
    """

    range: Range
    clipped_low: int = 0
    clipped_high: int = 0
    pixels: int = 0
    _tables: dict[tuple[str, bool], np.ndarray] = field(default_factory=dict)

    def __call__(self, array: np.ndarray, *, white_is_zero: bool) -> np.ndarray:
        """The slice ``array`` (height, width), of any real type, as whole numbers from 0 to ``levels``, rounded.

        Args:
            array: stored values.
            white_is_zero: 0 is white: the result is turned over.
        """
        low, high = self.range.low, self.range.high
        self.pixels += array.size
        if array.dtype.kind == "f" or low > np.iinfo(array.dtype).min or high < np.iinfo(array.dtype).max:
            self.clipped_low += int((array < low).sum())
            self.clipped_high += int((array > high).sum())
        if array.dtype == np.uint8 and (low, high, self.range.levels) == (0, 255, 255) and not white_is_zero:
            return array
        if not counted(array.dtype):
            return np.concatenate([self._scaled(one, white_is_zero=white_is_zero) for one in blocks(array)])
        key = array.dtype.str, white_is_zero
        if key not in self._tables:
            limits = np.iinfo(array.dtype)
            every = np.arange(limits.min, limits.max + 1)
            # Negative values count from the end of the table, as an index from the end does.
            self._tables[key] = np.roll(self._scaled(every, white_is_zero=white_is_zero), limits.min)
        table: np.ndarray = self._tables[key]
        return np.concatenate([table[one] for one in blocks(array)])

    def _scaled(self, array: np.ndarray, *, white_is_zero: bool) -> np.ndarray:
        low, high, levels = self.range.low, self.range.high, self.range.levels
        # The order of operations is that of the first version for low = 0: equal data keep their fingerprint.
        scaled = np.rint(np.clip((array.astype(np.float64) - low) / (high - low), 0.0, 1.0) * levels)
        result: np.ndarray = (levels - scaled if white_is_zero else scaled).astype(self.range.dtype)
        return result

    def note(self) -> str | None:
        """One sentence on the clipped pixels, or ``None`` where there are none."""
        if not self.clipped_low + self.clipped_high:
            return None
        shares = [
            f"{count:,} ({100 * count / self.pixels:.2g} %) {words}"
            for count, words in (
                (self.clipped_low, f"below {self.range.low:g} became black"),
                (self.clipped_high, f"above {self.range.high:g} became white"),
            )
            if count
        ]
        return f"intensity: of {self.pixels:,} pixels, " + " and ".join(shares)


def check_types(descriptions: Iterable[Description], data: Mapping[str, Any]) -> None:
    """:class:`DataError` where images of different types would be scaled by one guessed range.

    Args:
        descriptions: of all image files.
        data: the checked ``data`` block of ``grid.yaml``.
    """
    kinds: dict[tuple[str, int, bool], list[str]] = {}
    for one in descriptions:
        kinds.setdefault((one.dtype, one.bits, one.white_is_zero), []).append(one.name)
    types = {key[:2] for key in kinds}
    if len(types) > 1 and not _stated(data):
        parts = [
            f"{len(names)} {'file is' if len(names) == 1 else 'files are'} {dtype} with {bits} bits (such as {names[0]})"
            for (dtype, bits, _), names in sorted(kinds.items(), key=lambda item: -len(item[1]))
        ]
        raise DataError(
            f"the images are of different types: {'; '.join(parts)}; expected one type. Convert them, or set "
            "data.intensity_min and data.intensity_max to numbers that are right for all of them"
        )
    if len({key[2] for key in kinds}) > 1 and "auto" in (data["intensity_min"], data["intensity_max"]):
        raise DataError(
            "in some images 0 is white (MINISWHITE) and in others it is black, so that data.intensity_min or "
            "intensity_max: auto has no meaning; expected numbers"
        )


def _stated(data: Mapping[str, Any]) -> bool:
    """Whether both limits are numbers."""
    return isinstance(data["intensity_min"], float) and isinstance(data["intensity_max"], float)


def usual_white(description: Description) -> float | None:
    """The largest value of the type of a file, or ``None`` where it is not used as white: fractions, 32 bits and more."""
    kind = np.dtype(description.dtype).kind
    if kind == "f" or description.bits > 16:
        return None
    return float(2 ** (description.bits - (kind == "i")) - 1)


def needs_content(description: Description, data: Mapping[str, Any]) -> bool:
    """Whether the pixels must be read before their range is known. 8-bit files need not, unless ``auto`` is asked for."""
    eight = np.dtype(description.dtype) == np.uint8
    return not eight or "auto" in (data["intensity_min"], data["intensity_max"])


def decide(
    description: Description,
    data: Mapping[str, Any],
    content: Content | None,
    training: Content | None,
    *,
    depth: int | None = None,
) -> Range:
    """The range of the data set.

    Args:
        description: of one of its images; all are of one type unless both limits are stated.
        data: the checked ``data`` block of ``grid.yaml``.
        content: of all images that are used; ``None`` where :func:`needs_content` says no.
        training: of the training part, for ``auto``; ``None`` likewise.
        depth: 8 to keep 8 bits whatever is lost, as the first version did.

    Raises:
        DataError: the range cannot be known without ``data.intensity_min`` and ``data.intensity_max``, with the lines to write.
    """
    low, high = (_limit(data[key], training, share) for key, share in zip(_KEYS, AUTO, strict=True))
    if low is None:
        low = 0.0
        if content is not None and content.lowest < 0:
            raise _refusal(description, content, "some are negative, and data.intensity_min is not set")
    if high is None:
        high = usual_white(description)
        if high is None:
            raise _refusal(description, content, f"the type {description.dtype} has no usual white")
        if content is not None:
            _check_filled(description, content, high)
    if not low < high:
        raise DataError(
            f"the images: data.intensity_min {low:g} is not below data.intensity_max {high:g}"
            + (", which all or nearly all training pixels have" if "auto" in _written(data) else "")
            + "; expected a range"
        )
    lossy = high - low > 255 if content is None else _needs_16_bits(content, low, high)
    return Range(low, high, 65535 if lossy and depth != 8 else 255)


_KEYS = ("intensity_min", "intensity_max")


def _written(data: Mapping[str, Any]) -> tuple[Any, Any]:
    return data["intensity_min"], data["intensity_max"]


def _limit(value: float | str | None, training: Content | None, share: float) -> float | None:
    if not isinstance(value, str):
        return value
    if training is None:
        raise ValueError("auto: received no content of the training part")
    return training.quantile(share)


def _needs_16_bits(content: Content, low: float, high: float) -> bool:
    """Whether 8 bits would make different values equal, or move them."""
    values = content.values()
    if values is None:
        return True
    used = values[(values >= low) & (values <= high)]
    if high - low <= 255 and bool(np.all(used == np.rint(used))) and low == round(low):
        return False
    steps = (used - low) * 255 / (high - low)
    return bool(np.any(np.abs(steps - np.rint(steps)) > 1e-3))


def _check_filled(description: Description, content: Content, high: float) -> None:
    """:class:`DataError` where the content ends far below ``high``, the largest value of the type, or is one grey of it."""
    eight = high == 255
    top = (
        content.highest
        if eight or high < 255 or content.limits_only
        else content.quantile(AUTO[1], above_lowest=True)
    )
    limit = _DARKEST_8_BITS if eight else 0 if high < 255 else _FAR_BELOW * (high + 1)
    if top < limit:
        raise _refusal(
            description,
            content,
            f"nearly all end at {top:g}, far below {high:g}, the largest value of the type, and would be nearly black",
            keep=high,
        )
    if high <= 255 or content.limits_only:
        return
    bottom = content.quantile(AUTO[0], above_lowest=True)
    if 0 < top - bottom < _LEAST_SPAN * (high + 1):
        raise _refusal(
            description,
            content,
            f"nearly all lie from {bottom:g} to {top:g}, a small part of 0 to {high:g}, and would be one grey",
            keep=high,
            lines=(f"intensity_min: {bottom:g}", f"intensity_max: {top:g}"),
        )


def check_8_bits(description: Description, data: Mapping[str, Any], content: Content) -> None:
    """The check of :func:`decide` for 8-bit images, whose content is known only after they were read."""
    if data["intensity_max"] is None:
        _check_filled(description, content, 255.0)


def _refusal(
    description: Description,
    content: Content | None,
    problem: str,
    keep: float | None = None,
    lines: Sequence[str] = (),
) -> DataError:
    """The error with the lines to write: ``lines``, or those that fit the content."""
    chosen = list(lines)
    found = ""
    if content is not None:
        found = f" from {content.lowest:g} to {content.highest:g}"
        if not lines and content.lowest < 0:
            chosen.append(f"intensity_min: {_below(content.lowest):g}")
        if not lines:
            chosen.append(f"intensity_max: {_white(content):g}")
    advice = "Write in the block data: " + " and ".join(chosen) if chosen else "Set data.intensity_max"
    kept = f", or intensity_max: {keep:g} to keep the whole range of the type" if keep is not None else ""
    return DataError(
        f"the images (such as {description.name}) are {description.dtype} with values{found}; {problem}. {advice} "
        f"(the values shown as black and white){kept}; or auto for both, from the training part"
    )


def _below(lowest: float) -> float:
    """A round number for black: for whole numbers, the next minus a power of two."""
    if lowest == round(lowest):
        return -float(2 ** math.ceil(math.log2(-lowest)))
    return min(float(f"{lowest:.4g}"), lowest)


def _white(content: Content) -> float:
    """A round number for white: the largest value of as many bits as the values use; for fractions, 1 or the largest."""
    top = content.highest
    if not _counted_values(content):
        return 1.0 if 0.5 < top <= 1 and content.lowest >= 0 else float(f"{top:.6g}")
    if not content.limits_only:
        robust = content.quantile(AUTO[1], above_lowest=True)
        top = robust if robust < top / 4 else top
    return float(2 ** max(1, math.ceil(math.log2(max(1.0, top) + 1))) - 1)


def _counted_values(content: Content) -> bool:
    """Whether the values are whole numbers, as far as they are known."""
    values = content.values()
    known = np.array([content.lowest, content.highest]) if values is None else values
    return bool(np.all(known == np.rint(known)))
