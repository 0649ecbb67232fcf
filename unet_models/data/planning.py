"""Which slices and patches are used, and in which part each one is. No pixel is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unet_models.data.layout import Layout, SliceSource, Volume
from unet_models.data.packed import PARTS
from unet_models.data.patches import Window, windows
from unet_models.data.splits import TRAIN, UNUSED, VALIDATION, split_patches, split_slices

TEST = PARTS.index("test")
_LARGEST_NUMBER = 2**31 - 1  # slice numbers are stored in 32 bits


@dataclass(frozen=True)
class PlannedSlice:
    """A slice of which at least one patch is used.

    Attributes:
        source: where its pixels are.
        volume: number of its volume, from 0; those of the test part are counted by themselves.
        z: its number in the pack.
        windows: its patches.
        parts: index into :data:`unet_models.data.packed.PARTS` for each patch.
    """

    source: SliceSource
    volume: int
    z: int
    windows: tuple[Window, ...]
    parts: tuple[int, ...]

    def has(self, part: int) -> bool:
        """Whether a patch of the slice is in ``part``."""
        return part in self.parts


@dataclass(frozen=True)
class Plan:
    """The slices that are used, in the order of the pack, and what a reader should know about the choice."""

    slices: tuple[PlannedSlice, ...]
    notes: tuple[str, ...]


def make_plan(layout: Layout, data: Mapping[str, Any]) -> Plan:
    """Number, cut and split the slices of ``layout`` as the checked ``data`` block of ``grid.yaml`` says.

    Raises:
        DataError: a slice is smaller than a patch, or no slice is left for one of the parts.
    """
    notes = [*_unused(layout, data)]
    numbers = [_numbers(volume, notes) for volume in (*layout.volumes, *layout.test)]
    shift, overlap = data["border"] == "shift", data["overlap"]
    cut = _Cutter(layout, data["patch_size"], overlap)
    known = [tuple(cut(one, shift=shift)) for volume in layout.volumes for one in volume.slices]
    unused = cut.unused()
    if unused > 0 and data["sampling"] == "grid":
        notes.append(
            f"{100 * unused:.1f} % of the pixels, at the right and lower borders, fill no patch"
            + ("" if data["split"] == "random" else "; data.border: shift would cover them")
        )
    parts = iter(_parts(layout.volumes, numbers, [len(one) for one in known], data, notes))
    planned = []
    places = iter(known)
    for number, volume in enumerate(layout.volumes):
        for source, z in zip(volume.slices, numbers[number], strict=True):
            patches, assigned = next(places), next(parts)
            if set(assigned) != {UNUSED}:
                planned.append(PlannedSlice(source, number, z, patches, assigned))
    # Every pixel of a test slice is scored where whole slices are.
    shift = shift or data["test_scoring"] == "slices"
    for number, volume in enumerate(layout.test):
        for source, z in zip(volume.slices, numbers[len(layout.volumes) + number], strict=True):
            patches = tuple(cut(source, shift=shift))
            planned.append(PlannedSlice(source, number, z, patches, (TEST,) * len(patches)))
    return Plan(tuple(planned), tuple(notes))


def _unused(layout: Layout, data: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on settings that these data, or other settings, leave without effect."""
    if data["test_scoring"] == "slices" and not layout.test:
        yield "there is no test part, so that data.test_scoring: slices has no effect"
    if data["sampling"] == "grid":
        for key, without in (("crops_per_epoch", None), ("foreground_share", 0.5)):
            if data[key] != without:
                yield f"data.{key}: {data[key]} has no effect, since data.sampling is grid"


class _Cutter:
    """Cuts slices into windows, and counts the pixels that none of them covers."""

    def __init__(self, layout: Layout, patch: int, overlap: int) -> None:
        self._layout, self._patch, self._overlap = layout, patch, overlap
        self._pixels = self._covered = 0

    def __call__(self, source: SliceSource, *, shift: bool) -> Iterator[Window]:
        described = self._layout.descriptions[source.image.location]
        height, width, patch = described.height, described.width, self._patch
        self._pixels += height * width
        for window in windows(source.name, height, width, patch, overlap=self._overlap, shift=shift):
            self._covered += (patch - window.fresh[0]) * (patch - window.fresh[1])
            yield window

    def unused(self) -> float:
        """Share of the pixels so far, 0 to 1, that no window covers."""
        return 1.0 - self._covered / self._pixels


def _numbers(volume: Volume, notes: list[str]) -> list[int]:
    """The number of each slice in the pack; time stamps and other large numbers count as positions."""
    written = [one.z for one in volume.slices]
    if max(map(abs, written)) <= _LARGEST_NUMBER:
        return written
    notes.append(
        f"the slice numbers are as large as {max(written)}, like time stamps: the slices count as neighbours in their "
        "order, and data.gap_slices counts slices"
    )
    positions = {z: position for position, z in enumerate(sorted(set(written)))}
    return [positions[z] for z in written]


def _parts(
    volumes: Sequence[Volume],
    numbers: Sequence[Sequence[int]],
    counts: Sequence[int],
    data: Mapping[str, Any],
    notes: list[str],
) -> Iterator[tuple[int, ...]]:
    """The part of every patch of each slice in turn; ``counts`` are the numbers of their patches."""
    if data["split"] == "random":
        notes.append(
            "random split of patches: neighbouring slices are on both sides, so validation scores leak"
        )
        every = split_patches(sum(counts), data).tolist()
        ends = np.cumsum(counts).tolist()
        for start, end in zip([0, *ends], ends, strict=False):
            yield tuple(every[start:end])
        return
    whole = data["validation_volumes"]
    if whole:
        notes.append(f"the validation part is the whole of {', '.join(whole)}")
    split: list[dict[int, int]] = []
    for volume, z in zip(volumes, numbers, strict=False):
        if whole:
            split.append(dict.fromkeys(z, VALIDATION if volume.name in whole else TRAIN))
        else:
            split.append(split_slices(np.asarray(z), data, volume=volume.name))
    if not whole and not any(UNUSED in assigned.values() for assigned in split):
        apart = f", since the slice numbers are more than data.gap_slices, {data['gap_slices']}, apart"
        notes.append(
            f"no gap between training and validation{apart if data['gap_slices'] else ''}: the slices at the border are near "
            "copies"
        )
    count = iter(counts)
    for assigned, z in zip(split, numbers, strict=False):
        for one in z:
            yield (assigned[one],) * next(count)
