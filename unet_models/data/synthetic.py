"""Generated sample data: a stack that looks a little like FIB-SEM, for the demo and for tests.

Grey cytoplasm, dark cell membranes, small vesicles (dark ring, bright inside), and mitochondria (elongated, with a dark
rim and a darker matrix with bright cristae), blurred and noisy. Membranes and rings are as dark as mitochondria, so no
threshold separates them. Scores on these data show that the search works; they mean nothing for real cells.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

LABEL = "synthetic sample data (generated, not electron microscopy)"

SHARE = 0.09  # of the pixels are mitochondria, as in FIB-SEM of brain tissue
_MEMBRANE_SHARE = 0.05  # of the pixels, for each of the two fields
_CYTOPLASM, _MEMBRANE, _MATRIX, _CRISTA, _VESICLE = 165.0, 55.0, 100.0, 150.0, 190.0


def _membranes(shape: tuple[int, int, int], generator: np.random.Generator) -> np.ndarray:
    """Membranes of cells, bool (``shape``): where one of two smooth random fields is near zero.

    They are about two pixels wide and cover the same share of every volume: how often a field crosses zero is very
    different from one small volume to another.
    """
    found = np.zeros(shape, bool)
    for _ in range(2):
        field = ndimage.gaussian_filter(generator.standard_normal(shape), (12, 14, 14), mode="wrap")
        field /= field.std()
        slope = np.sqrt(sum(np.gradient(field, axis=axis) ** 2 for axis in (1, 2))) + 1e-3
        distance = np.abs(field) / slope  # in pixels, wherever the membrane runs
        found |= distance < np.quantile(distance, _MEMBRANE_SHARE)
    return found


def _mitochondrion(
    shape: tuple[int, int, int], grid: tuple[np.ndarray, ...], generator: np.random.Generator
) -> tuple[tuple[slice, ...], np.ndarray, np.ndarray]:
    """A bent ellipsoid: its box; in it, the relative distance from its axis (1 at the border), and its cristae."""
    centre = [generator.uniform(0, length) for length in shape]
    short = generator.uniform(5.0, 9.0)
    radii = np.array([short * generator.uniform(1.4, 2.0), short, short * generator.uniform(1.3, 2.6)])
    reach = np.ceil(radii.max() * 1.3)
    box = tuple(
        slice(int(max(0, c - reach)), int(min(length, c + reach + 1)))
        for c, length in zip(centre, shape, strict=True)
    )
    z, y, x = (
        axis[tuple(part if number == along else slice(None) for number, part in enumerate(box))]
        - centre[along]
        for along, axis in enumerate(grid)
    )
    angle, tilt, bend = (
        generator.uniform(0, np.pi),
        generator.uniform(-0.3, 0.3),
        generator.uniform(-0.02, 0.02),
    )
    along = np.cos(angle) * x + np.sin(angle) * y + tilt * z
    across = -np.sin(angle) * x + np.cos(angle) * y + bend * along**2
    distance = np.sqrt((z / radii[0]) ** 2 + (across / radii[1]) ** 2 + (along / radii[2]) ** 2)
    cristae = np.sin(along * generator.uniform(1.3, 1.7) + 0.6 * np.sin(across * 0.5)) > 0.35
    return box, distance, cristae


def synthetic_volume(*, slices: int, height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A stack of images, uint8 (slices, height, width), and its masks, bool of the same shape.

    Mitochondria cover about :data:`SHARE` of the pixels. Neighbouring slices are similar, slices 20 apart are
    not. Equal arguments give equal bytes.

    Raises:
        ValueError: there is less than 1 slice, or a side is below 32 pixels.
    """
    if slices < 1 or height < 32 or width < 32:
        raise ValueError(
            f"size of the sample: received {slices} slices of {width}x{height} pixels, "
            "expected at least 1 slice of 32x32"
        )
    generator = np.random.default_rng(seed)
    shape = (slices, height, width)
    grid = tuple(np.indices(shape, np.float32, sparse=True))
    image = np.full(shape, _CYTOPLASM, np.float32)
    image[_membranes(shape, generator)] = _MEMBRANE

    for _ in range(max(4, int(image.size * 1.5e-4))):
        centre = [generator.uniform(0, length) for length in shape]
        radius = generator.uniform(2.0, 3.2)
        box = tuple(
            slice(int(max(0, c - 5)), int(min(length, c + 6)))
            for c, length in zip(centre, shape, strict=True)
        )
        distance = np.sqrt(
            sum(
                (axis[tuple(part if number == along else slice(None) for number, part in enumerate(box))] - c)
                ** 2
                for along, (axis, c) in enumerate(zip(grid, centre, strict=True))
            )
        )
        image[box][distance < radius] = _MEMBRANE + 20
        image[box][distance < radius - 1.2] = _VESICLE

    masks = np.zeros(shape, bool)
    while masks.mean() < SHARE:
        box, distance, cristae = _mitochondrion(shape, grid, generator)
        inside = distance < 1
        # Mitochondria should not touch: separating touching ones is another task.
        if masks[box][distance < 1.25].any() and generator.random() < 0.95:
            continue
        image[box][distance < 1.2] = _CYTOPLASM
        image[box][inside] = np.where(cristae & (distance < 0.75), _CRISTA, _MATRIX)[inside]
        image[box][inside & (distance > 0.84)] = _MEMBRANE
        masks[box] |= inside

    shade = ndimage.gaussian_filter(generator.standard_normal(shape), (8, 32, 32), mode="wrap")
    # Without its mean: in a small volume the shade hardly varies, and one volume would be darker than another as a whole.
    shade = (shade - shade.mean()) / shade.std()
    image = ndimage.gaussian_filter(image, (0.4, 0.7, 0.7)) + 8 * shade
    # Shot noise grows with the signal, detector noise does not.
    image += generator.standard_normal(shape) * np.sqrt(25.0 + 0.5 * np.clip(image, 0, 255))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8), masks
