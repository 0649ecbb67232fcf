"""From the images that ``grid.yaml`` names to the packed data of a run: find, plan, read, scale, cut, pack.

Slices are read one after the other and never kept, so that the data may be larger than the memory.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from unet_models.data.content import Content
from unet_models.data.crops import CropRule
from unet_models.data.errors import DataError
from unet_models.data.files.description import Description
from unet_models.data.files_table import (
    blank_slices,
    check_palettes,
    differences,
    odd_ranges,
    range_sentence,
    summary,
    write_table,
)
from unet_models.data.intensity import Scaler, check_8_bits, check_types, decide, needs_content
from unet_models.data.layout import Layout, Page, Pages, SliceSource, Volume
from unet_models.data.layouts import find_layout
from unet_models.data.masks import ForegroundValues, Polarity, to_mask
from unet_models.data.packed import PARTS, Intensity, PackedData
from unet_models.data.packing import PackWriter
from unet_models.data.planning import PlannedSlice, make_plan
from unet_models.data.sizes import check_layout, check_sample
from unet_models.data.splits import TRAIN

FILES_TABLE = "files.csv"


def build(data: Mapping[str, Any], folder: Path, *, depth: int | None = None) -> PackedData:
    """Read, check, cut and split the data that ``grid.yaml`` names, and pack them in ``folder``.

    Args:
        data: the checked ``data`` block of ``grid.yaml``; its paths are absolute.
        folder: a new or empty folder for the pack.
        depth: 8 to keep 8 bits for each pixel, whatever is lost, as the first version did.

    Raises:
        DataError: the data cannot be used, or are not those that ``expected_patches`` or ``expected_fingerprint``
            describe. ``folder`` may then contain an unfinished pack.
    """
    packed = _Builder(data, folder, depth).build()
    expected = data["expected_fingerprint"]
    if expected not in (None, packed.fingerprint) and depth is None and packed.dtype == np.uint16:
        # The first version kept 8 bits of everything; a fingerprint of that time still names these data.
        shutil.rmtree(folder)
        eight = _Builder(data, folder, 8).build()
        packed = eight if eight.fingerprint == expected else packed
    _check_expected(packed, data)
    return packed


class _Builder:
    """The steps of :func:`build`, in their order."""

    def __init__(self, data: Mapping[str, Any], folder: Path, depth: int | None) -> None:
        self.data, self.folder, self.depth = data, folder, depth
        self.layout, arrays = _find(data)
        check_layout(self.layout, data, folder)
        self.plan = make_plan(self.layout, data)
        self.pages = Pages(arrays)
        self.images = self._files("image")
        self.masks = self._files("mask")
        self.polarity = Polarity()
        self.foreground = ForegroundValues()
        self.turn_masks = False
        self.thinning = np.random.Generator(np.random.Philox(key=[data["split_seed"], 1]))

    def _files(self, side: str) -> list[Description]:
        """Descriptions of all files of one side, also of those whose slices are in the gap."""
        volumes = (*self.layout.volumes, *self.layout.test)
        locations = dict.fromkeys(getattr(one, side).location for each in volumes for one in each.slices)
        return [self.layout.descriptions[location] for location in locations]

    def build(self) -> PackedData:
        """Read, scale and pack."""
        data = self.data
        check_types(self.images, data)
        check_palettes("images", self.images)
        check_palettes("masks", self.masks)
        folder = self.folder
        folder.mkdir(parents=True, exist_ok=True)
        with self.pages:
            turned = self._decide_polarity()
            content, training = self._contents()
            scaler = Scaler(decide(self.images[0], data, content, training, depth=self.depth))
            limits = content or Content(len(self.plan.slices), limits_only=True)
            rule = None
            if data["sampling"] == "random":
                rule = CropRule(data["patch_size"], data["crops_per_epoch"], data["foreground_share"])
            with PackWriter(
                folder, patch_size=data["patch_size"], dtype=scaler.range.dtype, crops=rule
            ) as writer:
                for one in self.plan.slices:
                    self._pack(writer, scaler, one, None if limits is content else limits)
                if content is None and self._one_type():
                    check_8_bits(self.images[0], data, limits)
                packed = self._finish(writer, scaler, limits, turned)
        files = {"image": self.images, "mask": self.masks}
        write_table(folder / FILES_TABLE, files, limits.limits, self._as_written)
        _check_masks(packed)
        return packed

    def _one_type(self) -> bool:
        """Whether all images have values of one type."""
        return len({one.dtype for one in self.images}) == 1

    def _finish(self, writer: PackWriter, scaler: Scaler, limits: Content, turned: list[str]) -> PackedData:
        """Complete the pack, with what a reader should know; ``turned`` are notes on the masks."""
        data, used, clipped = self.data, scaler.range, scaler.note()
        given = {data["intensity_min"], data["intensity_max"]}
        source = (
            "auto: from the training part"
            if "auto" in given
            else "the type of the files"
            if given == {None}
            else "grid.yaml"
        )
        notes = (
            *self.layout.notes,
            *self.plan.notes,
            *differences("images", self.images),
            *odd_ranges(limits.limits),
            *blank_slices(limits.blank, len(self.plan.slices)),
            *turned,
            *([clipped] if clipped else []),
            *self.polarity.notes(),
            *self.foreground.notes(),
        )
        return writer.finish(
            self._as_written(self.layout.source),
            "volume-wise" if data["validation_volumes"] else data["split"],
            notes=tuple(self._as_written(note) for note in notes),
            read=(
                summary("images", self.images),
                summary("masks", self.masks),
                range_sentence(scaler, limits.limits, source=source),
            ),
            intensity=Intensity(
                used.low, used.high, used.levels, scaler.clipped_low, scaler.clipped_high, scaler.pixels
            ),
            test_scoring=data["test_scoring"],
        )

    def _as_written(self, text: str) -> str:
        """``text`` for the files of the run, which others read: without the values of variables in paths."""
        for real, written in self.data.get("written", ()):
            text = text.replace(real, written)
        return text

    def _decide_polarity(self) -> list[str]:
        """Whether 0 or the other value is foreground in masks that say that 0 is white; a note on the decision.

        Programs do not agree. tifffile writes boolean arrays as MINISWHITE, and ImageJ binary masks with an inverting
        look-up table: there, foreground is what is not 0. Others mean what is shown white, which is 0. Mitochondria are
        the smaller part of every tissue, so the smaller part of all such masks is foreground.
        """
        found = size = 0
        names = set()
        for one in self.plan.slices:
            about = self.layout.descriptions[one.source.mask.location]
            if about.white_is_zero:
                mask = self._read(one.source.mask) > (self.data["mask_threshold"] or 0)
                found, size = found + int(mask.sum()), size + mask.size
                names.add(about.name)
        if not names:
            return []
        self.turn_masks = 2 * found > size
        share = 100 * ((size - found) if self.turn_masks else found) / size
        meant = "0" if self.turn_masks else "what is not 0"
        return [
            (
                f"{len(names)} mask files say that 0 is white (MINISWHITE), which programs mean in two ways: {meant} is taken as "
                f"foreground, since it is the smaller part, {share:.1f} %"
            )
        ]

    def _contents(self) -> tuple[Content | None, Content | None]:
        """The values of all slices and those of the training part, where the range depends on them."""
        data = self.data
        if not self._one_type() or not needs_content(self.images[0], data):
            return None, None
        content, training = Content(len(self.plan.slices)), None
        # With a random split of patches, each slice has both parts.
        if "auto" in (data["intensity_min"], data["intensity_max"]):
            training = Content(len(self.plan.slices))
        for one in self.plan.slices:
            name = self.layout.descriptions[one.source.image.location].name
            image = self._read(one.source.image)
            content.add(name, image)
            if training is not None and one.has(TRAIN):
                training.add(name, image)
        return content, training

    def _read(self, page: Page) -> np.ndarray:
        """The stored values of ``page``, which must be those that the header promised."""
        described = self.layout.descriptions[page.location]
        array = self.pages.read(page)
        if array.shape != (described.height, described.width) or array.dtype != described.dtype:
            raise DataError(
                f"{described.name}: slice {page.index} is {array.dtype} {array.shape}, expected {described.dtype} "
                f"{(described.height, described.width)} as its header says; was the file changed meanwhile?"
            )
        return array

    def _pack(self, writer: PackWriter, scaler: Scaler, one: PlannedSlice, limits: Content | None) -> None:
        """Read a slice and its mask, and add its patches to the pack."""
        described = {side: self.layout.descriptions[page.location] for side, page in one.source.pages()}
        stored = self._read(one.source.image)
        if limits is not None:
            limits.add(described["image"].name, stored)
        image = scaler(stored, white_is_zero=described["image"].white_is_zero)
        about = described["mask"]
        name = about.name if about.slices == 1 else f"{about.name}[{one.source.mask.index}]"
        labels = self._read(one.source.mask)
        mask = to_mask(
            name,
            labels,
            self.data["mask_threshold"],
            white_is_zero=about.white_is_zero and self.turn_masks,
            bits=about.bits,
        )
        self.polarity.add(about.name, mask)
        if self.data["mask_threshold"] is None:
            self.foreground.add(about.name, labels)
        if self.data["sampling"] == "random" and one.has(TRAIN):
            writer.add_slice(image, mask, one.z, volume=one.volume)
            return
        patch = self.data["patch_size"]
        # In the order of the slice, also where patches of two parts take turns.
        for part, group in groupby(zip(one.windows, one.parts, strict=True), key=itemgetter(1)):
            chosen = [window for window, _ in group if part != TRAIN or self._kept(mask[window.of(patch)])]
            if not chosen:
                continue
            writer.add(
                PARTS[part],
                np.stack([image[window.of(patch)] for window in chosen]),
                np.stack([mask[window.of(patch)] for window in chosen]),
                one.z,
                volume=one.volume,
                fresh=[window.fresh for window in chosen],
            )

    def _kept(self, mask: np.ndarray) -> bool:
        """Whether a training patch is kept: always if it has foreground, else with the given probability."""
        share = self.data["empty_patches_kept"]
        return share >= 1 or bool(mask.any()) or self.thinning.random() < share


def _find(data: Mapping[str, Any]) -> tuple[Layout, Mapping[str, np.ndarray]]:
    """The layout of the data, and the arrays of those that are generated."""
    if data["source"] == "files":
        return find_layout(data), {}
    # Imported here: importing SciPy takes longer than `--explain` should take in total.
    from unet_models.data.synthetic import LABEL, synthetic_volume

    size, slices = data["sample_size"], data["sample_slices"]
    check_sample(slices, size)
    arrays: dict[str, np.ndarray] = {}
    volumes = []
    for offset, used in enumerate((slices, max(4, slices // 4))):
        # The test volume is as deep as the other and then cut: membranes and mitochondria that are squeezed into a few
        # slices look different.
        made = synthetic_volume(slices=slices, height=size, width=size, seed=2 * data["sample_seed"] + offset)
        names = tuple(f"sample {('volume', 'test volume')[offset]}, {kind}" for kind in ("images", "masks"))
        arrays |= {names[0]: made[0], names[1]: made[1].view(np.uint8)}
        volumes.append(
            Volume(
                "",
                tuple(
                    SliceSource(z, f"sample z{z:03d}", Page(names[0], z), Page(names[1], z))
                    for z in range(used)
                ),
            )
        )
    described = {
        name: Description(name, "generated", len(array), size, size, "uint8", 8)
        for name, array in arrays.items()
    }
    return Layout((volumes[0],), (volumes[1],), LABEL, described), arrays


def _check_masks(packed: PackedData) -> None:
    """:class:`DataError` unless the training and validation parts have foreground and background."""
    for name in PARTS[:2]:
        share = packed.foreground(name)
        if share == 0:
            raise DataError(
                f"the masks of the {name} part of {packed.source} have no foreground at all; expected mitochondria, "
                "check the masks, data.mask_threshold and data.validation_block"
            )
        if share == 1:
            raise DataError(
                f"the masks of the {name} part of {packed.source} are foreground everywhere; expected background "
                "too, check the masks and data.mask_threshold"
            )


def _check_expected(packed: PackedData, data: Mapping[str, Any]) -> None:
    """:class:`DataError` if these are not the data that ``grid.yaml`` describes."""
    count, expected = sum(packed.count(part) for part in PARTS), data["expected_patches"]
    if expected is not None and expected != count:
        raise DataError(
            f"{packed.source} gives {count} patches, but data.expected_patches is {expected}: "
            "these are not the data that grid.yaml describes; correct data.path or the number"
        )
    expected = data["expected_fingerprint"]
    if expected is not None and expected != packed.fingerprint:
        raise DataError(
            f"{packed.source} has the fingerprint {packed.fingerprint}, but data.expected_fingerprint is "
            f"{expected}: these are not the data that grid.yaml describes"
        )
