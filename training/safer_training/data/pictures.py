"""The pictures of a data folder: checked, named by their content, and so kept once."""

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING

from safer_training.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

PICTURES = "pictures"
_SUFFIXES = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}


class PictureStore:
    """Puts pictures into a folder of data."""

    def __init__(self, folder: Path) -> None:
        """Remember the folder of data."""
        self.folder = folder

    def add(self, content: bytes, told: str) -> str:
        """Keep a picture's bytes and return its path below the folder; `told` names it where it cannot be read."""
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(io.BytesIO(content)) as image:
                suffix = _SUFFIXES.get(str(image.format))
                image.verify()
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{told} is not a picture that can be read: {error}") from error
        if suffix is None:
            raise DataError(f"{told}: pictures of this kind are not taken; convert it to PNG or JPEG")
        return self._keep(content, suffix)

    def add_file(self, path: Path) -> str:
        """Keep a picture that lies in a file."""
        if not path.is_file():
            raise DataError(f"missing picture: {path}")
        return self.add(path.read_bytes(), str(path))

    def add_drawn(self, image: "Image.Image") -> str:
        """Keep a picture that was drawn."""
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return self._keep(buffer.getvalue(), "png")

    def _keep(self, content: bytes, suffix: str) -> str:
        name = hashlib.sha256(content).hexdigest()[:32]
        relative = f"{PICTURES}/{name[:2]}/{name}.{suffix}"
        path = self.folder / relative
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            # A name stands for whole content only: an interrupted write must not leave half a picture under it.
            unfinished = path.with_suffix(".unfinished")
            unfinished.write_bytes(content)
            unfinished.replace(path)
        return relative
