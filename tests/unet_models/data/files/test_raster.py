"""PNG and other pictures: stored values at full depth; colour, transparency and moving pictures are refused."""

from __future__ import annotations

import zlib

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from unet_models.data.errors import DataError
from unet_models.data.files.opening import open_image

GREY = np.random.default_rng(0).integers(0, 256, (30, 41)).astype(np.uint8)
DEEP = np.random.default_rng(0).integers(0, 65536, (30, 41)).astype(np.uint16)


def opened(path):
    with open_image(str(path)) as file:
        assert file.description.slices == 1
        return file.description, file.read(0)


def refused(path, words):
    with pytest.raises(DataError, match=words) as caught:
        opened(path)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("array", [GREY, DEEP], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("colours", [1, 3])
def test_png_comes_back_at_full_depth(tmp_path, array, colours):
    """Pillow reduces colour of 16 bits to 8 without a word."""
    written = array if colours == 1 else np.dstack([array] * 3)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(written))
    about, found = opened(tmp_path / "a.png")
    assert np.array_equal(found, array) and found.dtype == array.dtype
    assert (about.format, about.dtype, about.bits) == ("PNG", array.dtype.name, 8 * array.itemsize)
    assert (about.height, about.width) == (30, 41)


@pytest.mark.parametrize("array", [GREY, DEEP], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("colours", [1, 3])
def test_opaque_alpha_is_dropped_and_other_alpha_is_refused(tmp_path, array, colours):
    alpha = np.full_like(array, np.iinfo(array.dtype).max)
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.dstack([array] * colours + [alpha])))
    assert np.array_equal(opened(tmp_path / "a.png")[1], array)
    alpha[1, :3] -= 1
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.dstack([array] * colours + [alpha])))
    refused(tmp_path / "a.png", "has 3 transparent pixels")


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_colour_of_one_pixel_in_the_last_bit_is_refused(tmp_path, channel):
    colour = np.dstack([DEEP] * 3)
    colour[7, 8, channel] ^= 1
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(colour))
    refused(tmp_path / "a.png", "is a colour image")


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.gif", "a.webp"])
def test_lossless_formats_give_the_stored_values(tmp_path, name):
    Image.fromarray(GREY).save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    about, found = opened(tmp_path / name)
    assert np.array_equal(found, GREY) and about.dtype == "uint8"


def test_jpeg_is_read_and_its_loss_is_noted(tmp_path):
    Image.fromarray(np.full((16, 16), 90, np.uint8)).save(tmp_path / "a.jpg")
    about, found = opened(tmp_path / "a.jpg")
    assert (found == 90).all() and about.notes == ("the pixels were compressed, perhaps with loss",)


def test_one_bit_is_a_mask_of_two_values(tmp_path):
    Image.fromarray(GREY > 99).save(tmp_path / "a.png")
    found = opened(tmp_path / "a.png")[1]
    assert len(np.unique(found)) == 2 and np.array_equal(found > 0, GREY > 99)


def chunk(kind, content):
    return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")


def png(array, *chunks, interlaced=False):
    """A PNG file of grey values, with further chunks before its pixels."""
    height, width = array.shape
    passes = [array]
    if interlaced:
        starts = (
            (0, 0, 8, 8),
            (0, 4, 8, 8),
            (4, 0, 8, 4),
            (0, 2, 4, 4),
            (2, 0, 4, 2),
            (0, 1, 2, 2),
            (1, 0, 2, 1),
        )
        passes = [array[y::down, x::right] for y, x, down, right in starts]
    big = array.dtype.newbyteorder(">")
    pixels = b"".join(b"\0" + np.ascontiguousarray(row, big).tobytes() for one in passes for row in one)
    header = (
        width.to_bytes(4, "big")
        + height.to_bytes(4, "big")
        + bytes([8 * array.itemsize, 0, 0, 0, interlaced])
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")]
    )


@pytest.mark.parametrize("array", [GREY, DEEP], ids=["8 bits", "16 bits"])
def test_interlaced_files_and_odd_chunks_are_read_without_a_word(tmp_path, array, capfd):
    """For each of these, libpng prints a warning."""
    gamma, white = chunk(b"gAMA", (45455).to_bytes(4, "big")), chunk(b"cHRM", bytes(32))
    for content in (png(array, interlaced=True), png(array, gamma, gamma, white), png(array) + b"more"):
        (tmp_path / "a.png").write_bytes(content)
        assert np.array_equal(opened(tmp_path / "a.png")[1], array)
    assert capfd.readouterr() == ("", "")


def test_what_libpng_finds_odd_in_needed_chunks_is_not_printed(tmp_path, capfd):
    """A transparent grey that 8 bits cannot have, and pixels after the last row."""
    (tmp_path / "a.png").write_bytes(png(GREY, chunk(b"tRNS", b"\xea\x60")))
    refused(tmp_path / "a.png", "transparent pixels")
    longer, content = np.vstack([GREY, GREY[:4]]), bytearray(png(GREY))
    start = content.index(b"IDAT") - 4
    content[start:] = png(longer)[start:]
    (tmp_path / "a.png").write_bytes(content)
    assert np.array_equal(opened(tmp_path / "a.png")[1], GREY)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("array", [GREY, DEEP], ids=["8 bits", "16 bits"])
def test_a_transparent_grey_is_refused_where_it_is_used(tmp_path, array):
    used = int(array[3, 4])
    count = int((array == used).sum())
    for interlaced in (False, True):
        clear = chunk(b"tRNS", used.to_bytes(2, "big"))
        (tmp_path / "a.png").write_bytes(png(array, clear, interlaced=interlaced))
        refused(tmp_path / "a.png", f"has {count} transparent pixels")
        other = np.where(array == used, array.dtype.type(used ^ 1), array)
        (tmp_path / "a.png").write_bytes(png(other, clear, interlaced=interlaced))
        assert np.array_equal(opened(tmp_path / "a.png")[1], other)


def test_a_gif_that_does_not_fill_its_canvas_is_refused(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.gif")
    content = bytearray((tmp_path / "a.gif").read_bytes())
    content[6:10] = (60).to_bytes(2, "little") + (50).to_bytes(2, "little")
    (tmp_path / "a.gif").write_bytes(content)
    refused(tmp_path / "a.gif", "does not fill its 60x50 pixels")


def test_an_empty_mask_in_webp_is_read_however_few_bytes_it_has(tmp_path):
    Image.new("L", (5000, 5000)).save(tmp_path / "a.webp", lossless=True)
    assert not opened(tmp_path / "a.webp")[1].any()


def palette(indices, colours, path, **options):
    picture = Image.fromarray(indices)
    picture.putpalette(np.asarray(colours, np.uint8).ravel().tolist())
    picture.save(path, **options)


def test_palettes_are_labels_or_greys_by_what_they_are(tmp_path):
    """The indices of colours; the greys of a palette in another order; an inverted ramp is white is zero."""
    labels = GREY % 3
    palette(labels, [(0, 0, 0), (255, 0, 0), (0, 255, 0)], tmp_path / "a.png")
    about, found = opened(tmp_path / "a.png")
    assert np.array_equal(found, labels) and "values are the indices" in about.notes[0]
    palette(labels, [(9, 9, 9), (200, 200, 200), (50, 50, 50)], tmp_path / "b.png")
    about, found = opened(tmp_path / "b.png")
    assert np.array_equal(found, np.array([9, 200, 50])[labels]) and "values are the greys" in about.notes[0]
    ramp = np.arange(256)[:, None].repeat(3, 1)
    palette(GREY, ramp, tmp_path / "c.png")
    palette(GREY, ramp[::-1], tmp_path / "d.png")
    for name, inverted in (("c.png", False), ("d.png", True)):
        about, found = opened(tmp_path / name)
        assert about.white_is_zero is inverted and np.array_equal(found, GREY)


MIXED = [(0, 0, 0), (255, 0, 0), (128, 128, 128), (255, 255, 255)]  # labels, two of them grey


def test_a_palette_of_colours_of_which_only_greys_are_used_says_so(tmp_path):
    """Other slices of the same labels use its colours; the data set compares what each file says."""
    palette(GREY % 2, MIXED, tmp_path / "colours.png")
    palette((GREY % 2) * 2, MIXED, tmp_path / "greys.png")
    about, found = opened(tmp_path / "colours.png")
    assert about.palette == "indices" and np.array_equal(found, GREY % 2)
    about, found = opened(tmp_path / "greys.png")
    assert about.palette == "greys" and np.array_equal(found, (GREY % 2) * 128)


def test_a_slice_of_background_only_is_the_index_whatever_its_colour(tmp_path):
    """0 is white here: as a grey it would be 255, foreground everywhere."""
    for background, kind in ((255, "indices"), (0, "")):
        palette(np.zeros_like(GREY), [(background,) * 3, (255, 0, 0)], tmp_path / "a.png")
        about, found = opened(tmp_path / "a.png")
        assert about.palette == kind and not found.any()


def test_a_mask_in_the_16_colours_of_a_paint_program_is_black_and_white(tmp_path):
    colours = [(0, 0, 0), (128, 0, 0), (0, 128, 0), *[(0, 0, 255)] * 12, (255, 255, 255)]
    for name in ("a.bmp", "a.gif", "a.png"):
        palette((GREY > 99) * np.uint8(15), colours, tmp_path / name)
        assert np.array_equal(opened(tmp_path / name)[1], (GREY > 99) * np.uint8(255))


def test_a_transparent_entry_of_a_palette_is_refused_where_it_is_used(tmp_path):
    colours = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)]
    palette(GREY % 3, colours, tmp_path / "a.png", transparency=3)
    assert np.array_equal(opened(tmp_path / "a.png")[1], GREY % 3)
    palette(GREY % 3, colours, tmp_path / "b.png", transparency=1)
    refused(tmp_path / "b.png", f"has {(GREY % 3 == 1).sum()} transparent pixels")


@pytest.mark.parametrize("name", ["a.gif", "a.png"])
def test_a_transparent_grey_of_a_palette_is_refused_where_it_is_used(tmp_path, name):
    Image.fromarray(np.minimum(GREY, 200)).save(tmp_path / name, transparency=200)
    refused(tmp_path / name, f"has {(GREY >= 200).sum()} transparent pixels")
    Image.fromarray(np.minimum(GREY, 200)).save(tmp_path / name, transparency=201)
    assert np.array_equal(opened(tmp_path / name)[1], np.minimum(GREY, 200))


def test_a_moving_picture_is_refused(tmp_path):
    frames = [Image.fromarray(np.roll(GREY, shift, 0)) for shift in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    refused(tmp_path / "a.gif", "a moving picture of 3 frames")


def test_an_orientation_in_the_exif_data_is_ignored_with_a_note(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    about, found = opened(tmp_path / "a.png")
    assert np.array_equal(found, GREY)
    assert about.notes == ("an orientation tag (6) is ignored: the pixels are used as they are stored",)


def test_a_section_of_many_pixels_is_no_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.fromarray(GREY).save(tmp_path / "a.png")
    assert np.array_equal(opened(tmp_path / "a.png")[1], GREY)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_header_that_promises_more_pixels_than_its_bytes_can_hold_is_refused(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = (100_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    refused(tmp_path / "a.png", "100000x100000 pixels, which do not fit into its")


@pytest.mark.parametrize(("mode", "name"), [("CMYK", "a.jpg"), ("LAB", "a.tif"), ("YCbCr", "a.jpg")])
def test_other_colour_spaces_are_refused(tmp_path, mode, name):
    Image.new(mode, (8, 8), 77).save(tmp_path / name)
    with pytest.raises(DataError, match=name):
        opened(tmp_path / name)
