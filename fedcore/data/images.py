"""Image files to one array of bytes: decoded one at a time, resized where a size is asked for.

Only the formats of `FORMATS` are opened. None of Pillow's decoders for them starts a program, as
that for EPS does. What a file or all of them may take is checked before anything is decoded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fedcore.data.checks import Array
from fedcore.data.places import is_file, opened, printable
from fedcore.data.warned import Warned
from fedcore.errors import DataError
from fedcore.outside import limits

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS: Final = {
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg"),
    "PNG": (".apng", ".png"),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
SUFFIXES: Final = tuple(sorted(suffix for each in FORMATS.values() for suffix in each))
_PLAIN: Final = (b"P1", b"P2", b"P3")  # PPM in decimal digits
_GREY_MODES: Final = ("1", "L", "LA")
_COLOUR_MODES: Final = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
_ORIENTATION: Final = 0x0112  # of EXIF
_TURNED: Final = range(2, 9)


class Images:
    """Reads images of one set; `notes` says what a reader of results must know of them.

    ``size`` (height, width) has Pillow resize each image as it is read, bilinear with antialiasing
    as in `fedcore.data.transforms`. None: all must have one size.
    """

    def __init__(self, root: Path, size: tuple[int, int] | None, warned: Warned) -> None:
        self._root, self._size, self._warned = root, size, warned
        self._counts: Counter[str] = Counter()

    def read(self, files: Sequence[Path]) -> Array:
        """All images as one array [n, h, w, 1], or [n, h, w, 3] if any is in colour; uint8.

        Beside that array no more than one image, and once its grey form, is in memory.
        """
        batch = None
        shape = None  # of the first image
        for row, file in enumerate(files):
            image = self._one(file)
            self._warned.about(printable(file.relative_to(self._root)))
            if batch is None or shape is None:
                shape = image.shape[:2]
                self._check_sum(len(files), shape)
                batch = np.empty((len(files), *image.shape), np.uint8)
            elif image.shape[:2] != shape:
                raise _other_size(file, image, files[0], shape)
            if image.shape[2] > batch.shape[3]:
                grey = batch
                batch = np.empty((*grey.shape[:3], image.shape[2]), np.uint8)
                batch[:row] = grey[:row]  # a grey image fills all three channels of a set in colour
            batch[row] = image
        assert batch is not None  # every class has an image
        return batch

    def notes(self) -> list[str]:
        """What was done to how many images."""
        texts = []
        if self._size is not None and (count := self._counts["resized"]):
            height, width = self._size
            texts.append(f"{_images(count)} resized to {width}x{height} on reading")
        if count := self._counts["turned"]:
            texts.append(f"{_images(count)} turned upright, as their EXIF orientation says")
        if count := self._counts["frames"]:
            texts.append(f"{_images(count)} with several frames or pages: the first one was read")
        return texts

    def _check_sum(self, count: int, shape: tuple[int, ...]) -> None:
        """DataError where ``count`` images of ``shape`` in colour are too much for this machine."""
        total, most = 3 * count * math.prod(shape), limits.data_bytes()
        if total > most:
            raise DataError(
                f"{printable(self._root)}: all images may take {limits.size_text(most)}, half of "
                f"this machine's memory, got {count} of {shape[1]}x{shape[0]} (width x height), "
                f"{limits.size_text(total)} in colour; have them made smaller as they are read "
                "with image_size (--image-size N), or take fewer"
            )

    def _sized(self, image: Image) -> Array:
        """``image``, of mode L or RGB, as [h, w, 1 or 3] uint8 of the size asked for."""
        from PIL import Image as pillow

        if self._size is not None and image.size != self._size[::-1]:
            image = image.resize(self._size[::-1], pillow.Resampling.BILINEAR)
            self._counts["resized"] += 1
        pixels: Array = np.asarray(image)
        return pixels.reshape(*pixels.shape[:2], -1)

    def _one(self, file: Path) -> Array:
        """One image as [h, w, 1 or 3] uint8, upright and resized."""
        from PIL import Image, ImageOps  # here: every run looks at this module, few read images

        if not is_file(file):
            raise DataError(
                f"{printable(file)}: must be an image, got a link to nothing; replace or remove it"
            )
        with opened(file, limits.IMAGE_FILE_BYTES) as content:
            most = limits.PLAIN_PIXELS if content.peek(2)[:2] in _PLAIN else limits.IMAGE_PIXELS
            try:
                with Image.open(content, formats=tuple(FORMATS)) as image:
                    _check_pixels(file, image, most)
                    if image.mode in _GREY_MODES + _COLOUR_MODES:
                        # a JPEG's further pictures (MPO) are previews of its first
                        several = image.format != "MPO" and getattr(image, "is_animated", False)
                        self._counts["frames"] += bool(several)
                        upright: Image.Image = image
                        if _orientation(image) in _TURNED:
                            upright = ImageOps.exif_transpose(image)
                            self._counts["turned"] += 1
                        return self._sized(_in_bytes(upright, gif=image.format == "GIF"))
                    mode = image.mode
            except DataError:
                raise
            except Exception as error:  # decoders raise many types for damaged files
                raise DataError(
                    f"{printable(file)}: cannot be read as an image ({type(error).__name__}: "
                    f"{printable(error)}); replace or remove it"
                ) from error
        raise DataError(
            f"{printable(file)}: pixels must have 8 bits a channel, got Pillow's mode {mode!r}; "
            "convert the image"
        )


def _check_pixels(file: Path, image: Image, most: int) -> None:
    """DataError, before anything is decoded, for an image of more than ``most`` pixels."""
    width, height = image.size
    if width * height > most:
        raise DataError(
            f"{printable(file)}: an image may have {most} pixels, got {width}x{height} (width x "
            "height); make it smaller, or remove it"
        )


def _orientation(image: Image) -> Any:
    """The EXIF orientation of ``image``, 1 (upright) where it has none that can be read."""
    try:
        # Pillow turns TIFFs itself, and then forgets the tag
        return image.getexif().get(_ORIENTATION, 1) if image.format != "TIFF" else 1
    except Exception:  # damaged EXIF says nothing about the pixels
        return 1


def _in_bytes(image: Image, *, gif: bool) -> Image:
    """``image`` in Pillow's mode L or RGB."""
    if image.mode in _GREY_MODES:
        return image.convert("L")
    colours = image.convert("RGB")
    if not gif:
        return colours
    # a GIF has a palette in any case; one of greys is a grey image
    pixels = np.asarray(colours)
    return colours.getchannel(0) if (pixels == pixels[..., :1]).all() else colours


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


def _other_size(file: Path, image: Array, first: Path, shape: tuple[int, ...]) -> DataError:
    height, width = image.shape[:2]
    return DataError(
        f"{printable(file)}: all images must have one size, got {width}x{height} (width x height) "
        f"where {printable(first)} has {shape[1]}x{shape[0]}; have them resized as they are read "
        "with image_size (--image-size N), or resize them"
    )
