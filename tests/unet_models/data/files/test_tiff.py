"""What a TIFF file says about its slices is understood or refused: kinds that other people's files have."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tifffile import TiffWriter, imwrite

from unet_models.data.errors import DataError
from unet_models.data.files.opening import open_image

STACK = np.random.default_rng(0).integers(0, 255, (5, 32, 48)).astype(np.uint8)


def opened(path):
    with open_image(str(path)) as file:
        return file.description, np.stack([file.read(index) for index in range(file.description.slices)])


def refused(path, words):
    with pytest.raises(DataError, match=words) as caught:
        opened(path)
    assert path.name in str(caught.value)


# How many slices


def test_an_imagej_stack_with_one_directory_has_all_its_slices(tmp_path):
    """As ImageJ writes stacks above 4 GB."""
    for dtype in (np.uint8, np.uint16, np.float32):
        array = STACK.astype(dtype)
        imwrite(tmp_path / "a.tif", array, imagej=True, metadata={"axes": "ZYX"}, truncate=True)
        about, found = opened(tmp_path / "a.tif")
        assert about.slices == 5 and np.array_equal(found, array)


def test_an_imagej_stack_with_one_directory_that_was_cut_off_is_refused(tmp_path):
    imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "ZYX"}, truncate=True)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[: -STACK[0].size])
    refused(tmp_path / "a.tif", "ends after 4 of 5 slices")


def test_an_imagej_description_with_more_images_than_there_are_is_refused(tmp_path):
    imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "ZYX"})
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(
        content.replace(b"images=5", b"images=8").replace(b"slices=5", b"slices=8")
    )
    refused(tmp_path / "a.tif", "has 5 slices, but ImageJ's description says that it has 8")


@pytest.mark.parametrize(
    ("axes", "words"), [("CYX", "5 channels"), ("TYX", "5 frames"), ("ZCYX", "5 channels, 2 slices")]
)
def test_channels_and_frames_of_imagej_are_no_slices(tmp_path, axes, words):
    array = np.stack([STACK, STACK]) if len(axes) == 4 else STACK
    imwrite(tmp_path / "a.tif", array, imagej=True, metadata={"axes": axes})
    refused(tmp_path / "a.tif", words)


@pytest.mark.parametrize("axes", ["CYX", "TYX", "TZYX"])
def test_channels_and_time_points_of_ome_are_no_slices(tmp_path, axes):
    array = np.stack([STACK, STACK]) if len(axes) == 4 else STACK
    imwrite(tmp_path / "a.ome.tif", array, ome=True, metadata={"axes": axes}, photometric="minisblack")
    refused(tmp_path / "a.ome.tif", "channels, .* slices and .* time points")


def test_an_ome_stack_has_its_slices_and_its_pixel_size(tmp_path):
    imwrite(
        tmp_path / "a.ome.tif", STACK, ome=True, photometric="minisblack",
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.005, "PhysicalSizeY": 5, "PhysicalSizeYUnit": "nm",
                  "PhysicalSizeZ": 0.05},
    )  # fmt: skip
    about, found = opened(tmp_path / "a.ome.tif")
    assert np.array_equal(found, STACK) and about.pixel_size == (50.0, 5.0, 5.0)


def test_an_ome_description_with_more_slices_than_pages_is_refused(tmp_path):
    imwrite(tmp_path / "a.ome.tif", STACK, ome=True, metadata={"axes": "ZYX"}, photometric="minisblack")
    content = (tmp_path / "a.ome.tif").read_bytes()
    assert b'SizeZ="5"' in content
    (tmp_path / "a.ome.tif").write_bytes(content.replace(b'SizeZ="5"', b'SizeZ="9"'))
    refused(tmp_path / "a.ome.tif", "has 5 slices, but its OME description says that it has 9")


@pytest.mark.parametrize("shape", [(2, 5, 32, 48), (3, 4, 32, 48)])
def test_an_array_of_four_axes_is_refused(tmp_path, shape):
    imwrite(tmp_path / "a.tif", np.zeros(shape, np.uint8), photometric="minisblack")
    refused(tmp_path / "a.tif", r"expected slices only, \(slices, height, width\)")


def test_reduced_copies_as_pages_and_as_sub_directories_are_no_slices(tmp_path):
    with TiffWriter(tmp_path / "pages.tif") as file:
        file.write(STACK[0], photometric="minisblack", tile=(16, 16))
        file.write(STACK[0, ::2, ::2], subfiletype=1)
        file.write(STACK[0, ::4, ::4], subfiletype=1)
    with TiffWriter(tmp_path / "sub.tif") as file:
        file.write(STACK[0], photometric="minisblack", tile=(16, 16), subifds=1)
        file.write(STACK[0, ::2, ::2], subfiletype=1)
    for name in ("pages.tif", "sub.tif"):
        about, found = opened(tmp_path / name)
        assert about.slices == 1 and np.array_equal(found[0], STACK[0])


def test_a_thumbnail_before_the_image_and_a_transparency_mask_are_no_slices(tmp_path):
    with TiffWriter(tmp_path / "a.tif") as file:
        file.write(STACK[0, ::2, ::2], photometric="minisblack", subfiletype=1, metadata=None)
        file.write(STACK[0], photometric="minisblack", metadata=None)
        file.write(STACK[0] > 9, photometric="mask", subfiletype=4, metadata=None)
    about, found = opened(tmp_path / "a.tif")
    assert about.slices == 1 and np.array_equal(found[0], STACK[0])
    assert "2 of its pages are reduced copies or masks, and are not used" in about.notes


def test_pages_of_several_shapes_that_no_tag_marks_are_refused(tmp_path):
    with TiffWriter(tmp_path / "a.tif") as file:
        file.write(STACK[0], photometric="minisblack", metadata=None)
        file.write(STACK[0, ::2, ::2], photometric="minisblack", metadata=None)
    refused(tmp_path / "a.tif", "page 1 has shaped .* expected slices of one shape")


def test_pages_of_several_types_are_refused(tmp_path):
    with TiffWriter(tmp_path / "a.tif") as file:
        file.write(STACK[0], photometric="minisblack", metadata=None)
        file.write(STACK[1].astype(np.uint16), photometric="minisblack", metadata=None)
    refused(tmp_path / "a.tif", "page 1 has dtype uint16 and page 0 has uint8")


# What a value means


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
def test_negative_values_stay_negative(tmp_path, dtype):
    array = np.array([[-1, 0, 1], [-100, 100, 7]], dtype)
    imwrite(tmp_path / "a.tif", array)
    about, found = opened(tmp_path / "a.tif")
    assert found[0].tolist() == array.tolist() and about.dtype == np.dtype(dtype).name


def test_white_is_zero_is_said_and_not_applied(tmp_path):
    for array in (STACK[0], STACK[0] > 99, STACK[0].astype(np.uint16)):
        imwrite(tmp_path / "a.tif", array, photometric="miniswhite")
        about, found = opened(tmp_path / "a.tif")
        assert about.white_is_zero and np.array_equal(found[0], array)


def test_one_bit_is_0_and_1(tmp_path):
    Image.fromarray(STACK[0] > 99).save(tmp_path / "a.tif")
    about, found = opened(tmp_path / "a.tif")
    assert (about.dtype, about.bits) == ("uint8", 1) and np.array_equal(found[0], STACK[0] > 99)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_palette_that_is_a_ramp_is_grey_or_white_is_zero(tmp_path, inverted):
    ramp = np.arange(256, dtype=np.uint16) * 257
    imwrite(
        tmp_path / "a.tif",
        STACK[0],
        photometric="palette",
        colormap=np.stack([ramp[:: -1 if inverted else 1]] * 3),
    )
    about, found = opened(tmp_path / "a.tif")
    assert about.white_is_zero is inverted and np.array_equal(found[0], STACK[0])


def test_a_palette_of_colours_gives_indices_and_a_note(tmp_path):
    colours = np.random.default_rng(1).integers(0, 65535, (3, 256)).astype(np.uint16)
    imwrite(tmp_path / "a.tif", STACK[0], photometric="palette", colormap=colours)
    about, found = opened(tmp_path / "a.tif")
    assert np.array_equal(found[0], STACK[0])
    assert about.notes == ("a palette of colours is ignored: values are the indices into it",)


def test_colour_is_refused(tmp_path):
    colour = np.dstack([STACK[0], STACK[0], STACK[0]])
    colour[3, 4, 1] ^= 1
    imwrite(tmp_path / "a.tif", colour, photometric="rgb")
    refused(tmp_path / "a.tif", "is a colour image")


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_opaque_alpha_is_left_out_and_other_alpha_is_refused(tmp_path, depth):
    grey = STACK[0].astype(depth)
    opaque = np.full_like(grey, np.iinfo(depth).max)
    for colours in (1, 3):
        alpha = opaque.copy()
        imwrite(
            tmp_path / "a.tif", np.dstack([grey] * colours + [alpha]), extrasamples=["unassalpha"], planarconfig="contig",
            photometric="rgb" if colours == 3 else "minisblack",
        )  # fmt: skip
        about, found = opened(tmp_path / "a.tif")
        assert np.array_equal(found[0], grey) and "an opaque alpha channel is left out" in about.notes
        alpha[2, 3:5] = 0
        imwrite(
            tmp_path / "a.tif", np.dstack([grey] * colours + [alpha]), extrasamples=["unassalpha"], planarconfig="contig",
            photometric="rgb" if colours == 3 else "minisblack",
        )  # fmt: skip
        refused(tmp_path / "a.tif", "has 2 transparent pixels")


def test_complex_numbers_are_refused(tmp_path):
    imwrite(tmp_path / "a.tif", STACK[0].astype(np.complex64))
    refused(tmp_path / "a.tif", "expected whole or floating-point numbers")


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_an_orientation_tag_turns_nothing_and_is_noted(tmp_path, orientation):
    imwrite(tmp_path / "a.tif", STACK[0], extratags=[(274, 3, 1, orientation, True)])
    about, found = opened(tmp_path / "a.tif")
    assert np.array_equal(found[0], STACK[0])
    (note,) = [one for one in about.notes if "orientation" in one]
    assert "is ignored: the pixels are used as they are stored" in note


def test_values_that_are_not_finite_are_given_as_they_are(tmp_path):
    """The reader of the data set refuses them, with their number."""
    array = np.array([[np.nan, 1], [np.inf, -np.inf]], np.float32)
    imwrite(tmp_path / "a.tif", array)
    assert np.array_equal(opened(tmp_path / "a.tif")[1][0], array, equal_nan=True)


def test_labels_above_two_to_the_31_keep_their_values(tmp_path):
    array = np.array([[2**31, 2**32 - 1], [0, 1]], np.uint32)
    imwrite(tmp_path / "a.tif", array)
    assert opened(tmp_path / "a.tif")[1][0].tolist() == array.tolist()


def test_pixel_sizes_of_imagej_are_read_and_screen_resolutions_are_not(tmp_path):
    imwrite(
        tmp_path / "a.tif", STACK, imagej=True, resolution=(200, 200), metadata={"axes": "ZYX", "unit": "um", "spacing": 0.05}
    )  # fmt: skip
    assert opened(tmp_path / "a.tif")[0].pixel_size == (50.0, 5.0, 5.0)
    imwrite(tmp_path / "b.tif", STACK[0], resolution=(300, 300), resolutionunit="INCH")
    assert opened(tmp_path / "b.tif")[0].pixel_size == (None, None, None)


def test_lossy_compression_is_noted(tmp_path):
    imwrite(tmp_path / "a.tif", STACK[0], compression="jpeg", tile=(16, 16))
    about, _ = opened(tmp_path / "a.tif")
    assert "the pixels were compressed, perhaps with loss" in about.notes and about.compression == "jpeg"


def test_a_png_named_tif_is_read_by_its_content(tmp_path):
    Image.fromarray(STACK[0]).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.tif")
    about, found = opened(tmp_path / "a.tif")
    assert about.format == "PNG" and np.array_equal(found[0], STACK[0])
