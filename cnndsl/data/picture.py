"""Picture files, read into pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cnndsl.diagnostics import error


def _over_white(picture: Image.Image) -> Image.Image:
    """A picture with transparency, laid over white: grey if it has no colour."""
    colour = picture.convert("RGBA")
    paper = Image.new("RGBA", colour.size, "white")
    paper.alpha_composite(colour)
    return paper.convert("L" if picture.mode in ("LA", "La") else "RGB")


def _sixteen_bits(picture: Image.Image) -> np.ndarray:
    """A picture with values 0..65535, scaled to 0..255 and rounded, uint8 (H, W)."""
    values = np.clip(np.asarray(picture).astype(np.int64), 0, 65535)
    return ((values + 128) // 257).astype(np.uint8)


def _pixels(picture: Image.Image) -> np.ndarray:
    """Uint8 (H, W) or (H, W, 3)."""
    if picture.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if picture.mode.startswith("I"):
        return _sixteen_bits(picture)
    if picture.has_transparency_data:
        return np.asarray(_over_white(picture))
    return np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"))


def load_image(path: str | Path) -> np.ndarray:
    """The first frame of a picture file, uint8 (H, W, 1) if it is grey, else (H, W, 3).

    It is turned as its EXIF orientation says, transparency is laid over white, and grey of 16 bits
    is scaled to 8.
    """
    try:
        with Image.open(path) as picture:
            pixels = _pixels(ImageOps.exif_transpose(picture))
    except FileNotFoundError:
        raise error("D0403", f"there is no file {path}") from None
    except IsADirectoryError:
        raise error("D0412", f"{path} is a folder, not a picture") from None
    except PermissionError:
        raise error("D0412", f"{path} may not be read: permission denied") from None
    except UnidentifiedImageError:
        raise error(
            "D0412", f"{path} is not a picture", help="PNG, JPEG, BMP, GIF, WebP and TIFF are read"
        ) from None
    except Exception as problem:  # a decoder may raise anything when the file is damaged
        raise error("D0412", f"{path} cannot be read as a picture: {problem}") from None
    return np.ascontiguousarray(pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels)
