"""Harmless noise on a picture: fine grain and another brightness, which leave it as readable as it was."""

import hashlib

import numpy as np
from PIL import Image

GRAIN = 8.0
"""Standard deviation of the grain, of 255."""
_DIMMEST, _BRIGHTEST = 0.85, 1.15


def noisy(image: Image.Image, name: str) -> Image.Image:
    """Return an RGB picture with noise that is always the same for the same name."""
    random = np.random.default_rng(list(hashlib.sha256(name.encode()).digest()[:8]))
    pixels = np.asarray(image, np.float32) * random.uniform(_DIMMEST, _BRIGHTEST)
    pixels += random.normal(0.0, GRAIN, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
