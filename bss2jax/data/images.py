"""Images from files, as shares of full scale."""

from pathlib import Path

import numpy as np

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")


def read_image(path: Path, size: tuple[int, ...], *, invert: bool = False) -> np.ndarray:
    """Reads an image as a network takes it: grey or in colour, scaled to its size.

    Args:
        path: the file.
        size: (H, W, C) of a sample, with 1 or 3 channels.
        invert: whether dark means full scale.

    Returns:
        `[H, W, C]` float32, 0..1.

    Raises:
        ValueError: it is no image, or the samples are none.
    """
    if len(size) != 3 or size[2] not in (1, 3):
        raise ValueError(
            f"{path}: the network takes samples of {'x'.join(map(str, size))}, no images; "
            "give an array (.npy)"
        )
    height, width, channels = size
    pixels = _pixels(path, "L" if channels == 1 else "RGB", (width, height))
    shares = pixels.astype(np.float32).reshape(size) / 255
    return 1 - shares if invert else shares


def read_images(paths: list[Path]) -> np.ndarray:
    """Reads images of one size: `[S, H, W, C]` uint8, grey where all of them are.

    Raises:
        ValueError: one is no image, or has another size than the first.
    """
    from PIL import Image

    modes, sizes = set(), {}
    for path in paths:
        try:
            with Image.open(path) as image:
                modes.add(image.mode)
                sizes[path] = image.size
        except OSError as error:
            raise ValueError(_unread(path, error)) from None
    first = sizes[paths[0]]
    for path, size in sizes.items():
        if size != first:
            raise ValueError(f"{path}: has {size[0]}x{size[1]} pixels, {paths[0]} {first}")
    grey = modes <= {"1", "L", "I;16"}
    read = np.stack([_pixels(path, "L" if grey else "RGB", first) for path in paths])
    return read[..., None] if grey else read


def _unread(path: Path, error: OSError) -> str:
    """Why a file gave no image: of the system, or of what reads images."""
    return f"{path}: {error.strerror}" if error.strerror else f"{path}: no image"


def _pixels(path: Path, mode: str, size: tuple[int, int]) -> np.ndarray:
    """The pixels of an image, uint8, in a mode and of a size (W, H)."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            converted = image.convert(mode)
            if converted.size != size:
                converted = converted.resize(size, Image.Resampling.BILINEAR)
            return np.asarray(converted)
    except OSError as error:
        raise ValueError(_unread(path, error)) from None
