"""What a TIFF file says about its slices is understood or refused: kinds that other people's files have."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tifffile import TiffFile, TiffWriter, imwrite, tiffcomment

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


@pytest.mark.parametrize("shape", [(5, 32, 48, 1), (1, 5, 32, 48, 1), (5, 1, 32, 48), (1, 5, 32, 48)])
def test_axes_of_length_1_are_left_out(tmp_path, shape):
    imwrite(tmp_path / "a.tif", STACK.reshape(shape))
    assert np.array_equal(opened(tmp_path / "a.tif")[1], STACK)


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


@pytest.mark.parametrize("options", [{}, {"metadata": None}], ids=["with a description", "without"])
@pytest.mark.parametrize("big", [False, True])
def test_a_file_whose_writer_was_stopped_is_refused(tmp_path, big, options):
    """The directories of all slices but the first are written at the end: before, such a file looks like one slice."""
    with TiffWriter(tmp_path / "whole.tif", bigtiff=big) as file:
        for page in STACK:
            file.write(page, contiguous=True, photometric="minisblack", **options)
        file._fh.flush()
        (tmp_path / "a.tif").write_bytes((tmp_path / "whole.tif").read_bytes())
    refused(tmp_path / "a.tif", "has 1 slice, and .* bytes in a row that belong to none")
    assert opened(tmp_path / "whole.tif")[0].slices == 5


def test_a_chain_that_leaves_out_a_page_is_refused(tmp_path):
    """One changed byte, or two, can do that."""
    with TiffWriter(tmp_path / "a.tif") as file:
        for page in STACK:
            file.write(page, contiguous=False, metadata=None, photometric="minisblack")
    with TiffFile(tmp_path / "a.tif") as file:
        offsets = [page.offset for page in file.pages]
        pointer = offsets[1] + 2 + 12 * len(file.pages[1].tags)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    content[pointer : pointer + 4] = offsets[3].to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(content)
    refused(tmp_path / "a.tif", "has 4 slices, and .* bytes in a row that belong to none")


@pytest.mark.parametrize("erased", [True, False])
def test_a_description_that_was_replaced_by_a_longer_one_is_no_lost_slice(tmp_path, erased):
    """The empty slice has fewer bytes than its first description."""
    empty = np.zeros((64, 64), np.uint8)
    imwrite(
        tmp_path / "a.tif",
        empty,
        photometric="minisblack",
        compression="deflate",
        metadata=None,
        description="a\n" * 500,
    )
    tiffcomment(tmp_path / "a.tif", "b" * 2000)
    if not erased:
        content = bytearray((tmp_path / "a.tif").read_bytes())
        place = content.rindex(bytes(900))
        content[place : place + 900] = b"a\n" * 450
        (tmp_path / "a.tif").write_bytes(content)
    assert np.array_equal(opened(tmp_path / "a.tif")[1], empty[None])


def test_an_imagej_description_that_counts_nothing_leaves_the_count_to_the_pages(tmp_path):
    with TiffWriter(tmp_path / "a.tif") as file:
        for page in STACK:
            file.write(
                page,
                contiguous=False,
                metadata=None,
                photometric="minisblack",
                description="ImageJ=1.53t\nunit=nm\n",
            )
    assert np.array_equal(opened(tmp_path / "a.tif")[1], STACK)


def test_an_ome_description_may_give_the_pages_in_another_order(tmp_path):
    write_ome(
        tmp_path / "a.tif",
        "".join(f'<TiffData IFD="{4 - z}" FirstZ="{z}" PlaneCount="1"/>' for z in range(5)),
    )
    assert np.array_equal(opened(tmp_path / "a.tif")[1], STACK[::-1])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('<TiffData IFD="0" FirstZ="0" PlaneCount="4"/>', "does not give each of its 5 slices a page"),
        (
            "".join(f'<TiffData FirstZ="{z}"><UUID FileName="z{z}.tif">urn:uuid:{z}</UUID></TiffData>' for z in range(5)),
            "is one of 5 files of an OME-TIFF data set",
        ),
        (
            "".join(f'<TiffData FirstZ="{z}"><UUID>urn:uuid:{z}</UUID></TiffData>' for z in range(5)),
            "is one of 5 files of an OME-TIFF data set",
        ),
    ],
)  # fmt: skip
def test_an_ome_description_of_planes_that_are_elsewhere_is_refused(tmp_path, data, words):
    write_ome(tmp_path / "a.tif", data)
    refused(tmp_path / "a.tif", words)


@pytest.mark.parametrize("stated", ["int8", "uint16", "float"])
def test_an_ome_description_of_another_type_is_refused(tmp_path, stated):
    """Some programs leave out the tag of TIFF, so that negative numbers and fractions are read as whole ones."""
    write_ome(tmp_path / "a.tif", "<TiffData/>", stated)
    refused(tmp_path / "a.tif", f"has values of the type uint8, but its OME description says {stated}")


def test_an_ome_description_counts_reduced_copies_as_pages(tmp_path):
    text = '<TiffData IFD="1" FirstZ="0" PlaneCount="5"/>'
    write_ome(tmp_path / "a.tif", text, first=True)
    assert np.array_equal(opened(tmp_path / "a.tif")[1], STACK)


def write_ome(path, data, stated="uint8", *, first=False):
    text = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" SizeX="48" SizeY="32" SizeC="1" SizeZ="5" SizeT="1"'
        f' Type="{stated}">{data}</Pixels></Image></OME>'
    )
    pages = [(page, 0) for page in STACK]
    if first:  # a reduced copy
        pages.insert(0, (STACK[0, ::2, ::2], 1))
    with TiffWriter(path) as file:
        for number, (page, kind) in enumerate(pages):
            file.write(
                page,
                contiguous=False,
                metadata=None,
                photometric="minisblack",
                subfiletype=kind,
                description=None if number else text,
            )


def test_channels_as_pages_of_a_slide_scanner_are_no_slices(tmp_path):
    imwrite(
        tmp_path / "a.tif", STACK, photometric="minisblack", metadata=None, software="PerkinElmer-QPI",
        description="<?xml version='1.0'?><PerkinElmer-QPI-ImageDescription/>",
    )  # fmt: skip
    refused(tmp_path / "a.tif", "is of the kind qpi")


@pytest.mark.parametrize("options", [{"subfiletype": 1}, {"extratags": [(255, 3, 1, 2, True)]}])
def test_a_reduced_copy_as_large_as_the_image_is_refused(tmp_path, options):
    """All slices but the first were left out."""
    with TiffWriter(tmp_path / "a.tif") as file:
        for z, page in enumerate(STACK):
            file.write(
                page, contiguous=False, metadata=None, photometric="minisblack", **(options if z else {})
            )
    refused(tmp_path / "a.tif", "page 1 is marked as a reduced copy .* but is as large as the image")


def test_tags_of_any_page_are_noted(tmp_path):
    with TiffWriter(tmp_path / "a.tif") as file:
        for z in (0, 1, 3):
            tags = [(297, 3, 2, (z, 5), True), (274, 3, 1, 6 if z == 3 else 1, True)]
            file.write(STACK[z], contiguous=False, metadata=None, photometric="minisblack", extratags=tags)
    about, found = opened(tmp_path / "a.tif")
    assert np.array_equal(found, STACK[[0, 1, 3]]) and about.notes == (
        "an orientation tag (RIGHTTOP) is ignored: the pixels are used as they are stored",
        "its 3 pages are numbered as pages of 5 (PageNumber): are some missing?",
    )


def test_the_data_bar_of_a_microscope_is_noted(tmp_path):
    text = "[Image]\r\nResolutionY=28\r\n\r\n[PrivateFei]\r\nDatabarHeight=4\r\n"
    imwrite(tmp_path / "a.tif", STACK[0], metadata=None, extratags=[(34682, 2, None, text, True)])
    assert opened(tmp_path / "a.tif")[0].notes == (
        "its lowest 4 rows are the data bar of the microscope: cut them off, for masks alike",
    )


def test_a_reduced_copy_after_each_slice_is_no_slice(tmp_path):
    """Marked by the tag of today, or by that of TIFF 5."""
    for options in ({"subfiletype": 1}, {"extratags": [(255, 3, 1, 2, True)]}):
        with TiffWriter(tmp_path / "a.tif") as file:
            for page in STACK:
                file.write(page, contiguous=False, metadata=None, photometric="minisblack")
                file.write(
                    page[::2, ::2], contiguous=False, metadata=None, photometric="minisblack", **options
                )
        assert np.array_equal(opened(tmp_path / "a.tif")[1], STACK)


# What a value means


def test_a_second_channel_is_no_transparency(tmp_path):
    both = np.dstack([STACK[0], np.full_like(STACK[0], 255)])
    imwrite(
        tmp_path / "a.tif",
        both,
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unspecified"],
    )
    refused(tmp_path / "a.tif", "has 2 channels")


def test_a_calibration_of_imagej_is_noted_and_not_applied(tmp_path):
    """ImageJ stores signed 16 bits without a sign, 32,768 higher."""
    text = "ImageJ=1.53t\nimages=1\nslices=1\ncf=0\nc0=-32768.0\nc1=1.0\nvunit=Gray Value\n"
    array = STACK[0].astype(np.uint16) + 32768
    imwrite(tmp_path / "a.tif", array, photometric="minisblack", metadata=None, description=text)
    about, found = opened(tmp_path / "a.tif")
    assert np.array_equal(found[0], array) and about.dtype == "uint16"
    assert about.notes == (
        "ImageJ's calibration (c0=-32768.0, c1=1.0) is ignored: the values are used as they are stored",
    )


def test_fax_compression_of_masks_is_read_or_refused(tmp_path):
    """By tifffile from 2026 on."""
    mask = STACK[0] > 99
    for compression in ("group3", "group4", "tiff_ccitt"):
        Image.fromarray(mask).save(tmp_path / "a.tif", compression=compression)
        try:
            about, found = opened(tmp_path / "a.tif")
        except DataError as error:
            assert "not supported" in str(error)
        else:
            assert np.array_equal(found[0], mask) and about.bits == 1


@pytest.mark.parametrize("compression", ["lerc", "zstd", "jpeg2000", "lzw", "deflate"])
def test_an_empty_mask_is_read_however_few_bytes_it_has(tmp_path, compression):
    mask = np.zeros((3000, 3000), np.uint8)
    imwrite(tmp_path / "a.tif", mask, photometric="minisblack", compression=compression, rowsperstrip=3000)
    assert not opened(tmp_path / "a.tif")[1].any()


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


def test_a_volume_in_one_page_is_refused_by_its_name(tmp_path):
    imwrite(tmp_path / "a.tif", np.zeros((16, 32, 48), np.uint8), volumetric=True, tile=(16, 16, 16))
    refused(tmp_path / "a.tif", r"volumetric TIFF: one page has 16 slices .* save it as a stack")


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
