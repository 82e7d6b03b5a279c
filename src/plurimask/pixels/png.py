"""Pictures inside of a page."""

import base64
import io

from PIL import Image


def data_uri(picture: Image.Image) -> str:
    """A picture as the data URI of a PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
