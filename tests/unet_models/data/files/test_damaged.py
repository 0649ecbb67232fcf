"""Damaged files give an error that names them, or all of their slices: no other exception, and no slice less."""

from __future__ import annotations

import collections
import random
import time

import h5py
import mrcfile
import numpy as np
import pytest
from PIL import Image
from tifffile import TiffWriter, imwrite

from unet_models.data.errors import DataError
from unet_models.data.files.opening import open_image

STACK = np.random.default_rng(0).integers(0, 255, (6, 16, 16)).astype(np.uint8)


def pages_one_by_one(path):
    with TiffWriter(path) as file:
        for page in STACK:
            file.write(page, contiguous=False, metadata=None, photometric="minisblack")


def pillow(path, **options):
    pages = [Image.fromarray(page) for page in STACK]
    pages[0].save(path, save_all=True, append_images=pages[1:], **options)


WRITERS = {
    "tifffile, pages": pages_one_by_one,
    "tifffile, stack": lambda path: imwrite(path, STACK, photometric="minisblack"),
    "tifffile, BigTIFF, tiles": lambda path: imwrite(
        path, STACK, photometric="minisblack", bigtiff=True, tile=(16, 16), compression="deflate"
    ),
    "ImageJ": lambda path: imwrite(path, STACK, imagej=True, metadata={"axes": "ZYX"}),
    "ImageJ, one directory": lambda path: imwrite(
        path, STACK, imagej=True, metadata={"axes": "ZYX"}, truncate=True
    ),
    "OME": lambda path: imwrite(path, STACK, ome=True, metadata={"axes": "ZYX"}, photometric="minisblack"),
    "Pillow": pillow,
    "Pillow, LZW": lambda path: pillow(path, compression="tiff_lzw"),
}


def slices(path):
    with open_image(str(path)) as file:
        return np.stack([file.read(index) for index in range(file.description.slices)])


@pytest.mark.parametrize("writer", WRITERS)
def test_a_stack_whose_copy_was_interrupted_is_read_whole_or_refused(tmp_path, writer):
    """At every 7th length, and at each of the last and first 40."""
    WRITERS[writer](tmp_path / "whole.tif")
    content = (tmp_path / "whole.tif").read_bytes()
    assert np.array_equal(slices(tmp_path / "whole.tif"), STACK)
    path = tmp_path / "cut.tif"
    refused = 0
    near = {*range(41), *range(len(content) - 40, len(content))}
    for length in sorted(near | set(range(0, len(content), 7))):
        path.write_bytes(content[:length])
        try:
            found = slices(path)
        except DataError as error:
            assert "cut.tif" in str(error)
            refused += 1
        else:
            assert np.array_equal(found, STACK), length  # what is missing was no pixel
    assert refused > 0.9 * len(content) / 7


@pytest.mark.parametrize("writer", WRITERS)
def test_a_copy_that_ends_in_zeros_has_all_slices_or_is_refused(tmp_path, writer):
    """As programs leave it that reserve the whole size before they copy. Black pixels cannot be told from stored ones."""
    WRITERS[writer](tmp_path / "whole.tif")
    content = (tmp_path / "whole.tif").read_bytes()
    path = tmp_path / "cut.tif"
    for length in range(8, len(content), 11):
        path.write_bytes(content[:length] + bytes(len(content) - length))
        try:
            found = slices(path)
        except DataError as error:
            assert "cut.tif" in str(error)
        else:
            assert found.shape == STACK.shape, length


def whole_files(folder):
    """Small files of nine formats and several kinds."""
    grey = STACK[0].repeat(2, 0)
    for name, options in {
        "plain": {}, "lzw": {"compression": "lzw"}, "deflate": {"compression": "deflate", "tile": (16, 16)},
        "big": {"bigtiff": True}, "zstd": {"compression": "zstd"}, "swapped": {"byteorder": ">"},
        "white": {"photometric": "miniswhite"}, "jpeg": {"compression": "jpeg"}, "packbits": {"compression": "packbits"},
    }.items():  # fmt: skip
        imwrite(folder / f"{name}.tif", grey, **options)
    imwrite(folder / "float.tif", grey.astype(np.float32))
    imwrite(folder / "deep.tif", grey.astype(np.uint16) * 200, compression="lzw", predictor=True)
    imwrite(folder / "ome.ome.tif", STACK, ome=True, metadata={"axes": "ZYX"}, photometric="minisblack")
    for name, writer in (("imagej", "ImageJ"), ("pages", "tifffile, pages"), ("pillow", "Pillow, LZW")):
        WRITERS[writer](folder / f"{name}.tif")
    picture = Image.fromarray(grey)
    for name in ("a.png", "a.jpg", "a.bmp", "a.gif", "a.webp"):
        picture.save(folder / name, **({"lossless": True} if name == "a.webp" else {}))
    Image.fromarray(grey > 128).save(folder / "bit.png")
    Image.fromarray(grey.astype(np.uint16) * 200).save(folder / "deep.png")
    palette = Image.fromarray(grey % 2)
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.save(folder / "palette.png")
    palette.save(folder / "palette.tif")
    Image.fromarray(np.dstack([grey] * 3)).save(folder / "colour.png")
    np.save(folder / "a.npy", STACK)
    np.save(folder / "swapped.npy", np.asfortranarray(STACK.astype(">u2")))
    for name, dtype in (("a.mrc", np.uint16), ("signed.mrc", np.int8)):
        with mrcfile.new(folder / name) as file:
            file.set_data((STACK // 2).astype(dtype))
    for name, options in (
        ("a.h5", {}),
        ("chunks.h5", {"chunks": (2, 8, 8), "compression": "gzip", "fletcher32": True}),
    ):
        with h5py.File(folder / name, "w") as file:
            file.create_dataset("raw", data=STACK, **options)
    return sorted(folder.iterdir())


def damaged(content, generator):
    """``content`` cut off, or with some bytes changed, most of them near the start, or with some removed."""
    result = bytearray(content)
    if generator.random() < 0.3:
        return result[: generator.randrange(len(result))]
    for _ in range(generator.choice((1, 1, 2, 4, 8))):
        near = min(len(result), 400) if generator.random() < 0.7 else len(result)
        result[generator.randrange(near)] = generator.choice((0, 1, 255, generator.randrange(256)))
    if generator.random() < 0.1:
        start = generator.randrange(len(result))
        del result[start : start + generator.randrange(1, 9)]
    return result


def fuzz(folder, count, seed):
    """Open ``count`` damaged files; the numbers of those that were read and refused."""
    (folder / "whole").mkdir()
    files = whole_files(folder / "whole")
    number = {path: len(slices(path)) for path in files}
    generator = random.Random(seed)
    outcomes = collections.Counter()
    for trial in range(count):
        path = generator.choice(files)
        other = folder / f"x{path.suffix}"
        other.write_bytes(damaged(path.read_bytes(), generator))
        since = time.monotonic()
        try:
            found = len(slices(other))
        except DataError as error:
            assert "/x." in str(error), (trial, path.name, error)
            outcomes["refused"] += 1
        else:
            assert found == number[path], (trial, path.name, found)  # none is lost in silence
            outcomes["read"] += 1
        assert time.monotonic() - since < 20, (trial, path.name)  # no hang
    return outcomes


@pytest.mark.slow
def test_damaged_files_end_in_no_other_exception(tmp_path, capfd):
    outcomes = fuzz(tmp_path, 1500, seed=1)
    assert outcomes["refused"] > 300 and outcomes["read"] > 100
    assert capfd.readouterr() == ("", "")  # decoders print nothing past the program, either


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(4))
def test_twenty_thousand_damaged_files_end_in_no_other_exception(tmp_path, seed):
    fuzz(tmp_path, 5000, seed=100 + seed)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tif", b""),
        ("a.tif", b"II*\0"),
        ("a.tif", b"II*\0\x08\0\0\0"),
        ("a.tif", b"<html><body>404 Not Found</body></html>"),
        ("a.tif", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"),
        ("a.png", b"\x89PNG\r\n\x1a\n"),
        ("a.jpg", b"\xff\xd8\xff\xe0"),
        ("a.bmp", b"BM"),
    ],
)
def test_files_that_are_none_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        slices(tmp_path / name)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.tif", tmp_path):
        with pytest.raises(DataError, match=path.name):
            slices(path)


def test_a_chain_of_pages_that_runs_in_a_circle_is_refused(tmp_path):
    pages_one_by_one(tmp_path / "a.tif")
    content = bytearray((tmp_path / "a.tif").read_bytes())
    first = int.from_bytes(content[4:8], "little")
    entries = int.from_bytes(content[first : first + 2], "little")
    content[first + 2 + 12 * entries : first + 6 + 12 * entries] = first.to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(
        DataError, match=r"a.tif is incomplete or damaged: after 1 pages, the directories point back"
    ):
        slices(tmp_path / "a.tif")


def test_a_header_that_asks_for_all_memory_is_refused(tmp_path):
    imwrite(tmp_path / "a.tif", STACK[0], compression="deflate")
    content = (tmp_path / "a.tif").read_bytes()
    for tag in (256, 257):  # width and height
        place = content.index(tag.to_bytes(2, "little") + b"\x04\0\x01\0\0\0") + 8
        content = content[:place] + (2_000_000).to_bytes(4, "little") + content[place + 4 :]
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tif"):
        slices(tmp_path / "a.tif")
