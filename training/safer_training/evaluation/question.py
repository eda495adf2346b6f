"""A question: an item as it is asked in one variant."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from safer_training.data.records import Message
from safer_training.errors import PictureError
from safer_training.evaluation.noise import noisy
from safer_training.evaluation.sampling import Sampling

JPEG_QUALITY = 92
"""As in the paper."""


@dataclass(frozen=True)
class Question:
    """What a target is asked."""

    uid: str
    variant: str
    prompt: tuple[Message, ...]
    images: tuple[Path | bytes, ...]
    sampling: Sampling
    has_noise: bool = False
    """Whether noise is put upon the pictures."""

    @property
    def judges_reply(self) -> bool:
        """Whether the last message is a reply that is to be judged."""
        return self.prompt[-1].role == "assistant"

    def pictures(self) -> list[Image.Image]:
        """Open the pictures, scaled as the sampling says; raise `PictureError` where one cannot be read."""
        return [self._picture(number, image) for number, image in enumerate(self.images, 1)]

    def _picture(self, number: int, source: Path | bytes) -> Image.Image:
        try:
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
                image = file.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise PictureError(f"picture {number} cannot be read: {type(error).__name__}") from error
        image = _scaled(image, self.sampling)
        return noisy(image, f"{self.uid}/{number}") if self.has_noise else image


def as_jpeg(image: Image.Image) -> bytes:
    """Encode a picture as it is sent."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def draw_of(*names: str) -> int:
    """Return a number that is always the same for the same names."""
    return int.from_bytes(hashlib.sha256("\0".join(names).encode()).digest()[:4], "big")


def _scaled(image: Image.Image, sampling: Sampling) -> Image.Image:
    area = image.width * image.height
    wanted = max(area, sampling.min_pixels or 0)
    wanted = min(wanted, sampling.max_pixels or wanted)
    if wanted == area:
        return image
    scale = (wanted / area) ** 0.5
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
