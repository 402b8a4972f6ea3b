"""Images and sound: from files in memory to what models read, and back. Bounds what a small file can unpack to.

Only formats that hold what they show are read: none that names other files or addresses, or is a program to be run.
"""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np

from inlet.runtime.pipelines.call import BadInput, Blob

MAX_PIXELS = 40_000_000  # 120 MB as RGB
MAX_SECONDS = 3_600  # of sound: 230 MB at 16 kHz
MIN_SECONDS = 0.1  # of sound: models look at windows, and their first layers fail on less than one
_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
# Of Pillow's. A phone's MPO is a JPEG there.
_IMAGES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
# Of FFmpeg's, by its names.
_SOUNDS = (
    "wav", "w64", "flac", "mp3", "ogg", "mov", "matroska", "aac", "aiff", "amr", "caf", "asf", "au",
)  # fmt: skip
_CONFINED = {"format_whitelist": ",".join(_SOUNDS), "protocol_whitelist": ""}


def read_image(content: bytes, field: str) -> Any:
    """A PIL image in RGB, turned as its camera was held."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=_IMAGES) as opened:
            width, height = opened.size  # known from the head, before anything is unpacked
            if width * height > MAX_PIXELS:
                raise _too_large(field)
            return ImageOps.exif_transpose(opened).convert("RGB")
    except BadInput:
        raise
    except Image.DecompressionBombError:  # the library has a bound of its own, far above ours
        raise _too_large(field) from None
    except UnidentifiedImageError:
        raise BadInput(
            "not an image of a known format; send PNG, JPEG, WebP, GIF, BMP or TIFF", field
        ) from None
    except MemoryError:
        raise
    except Exception as error:  # each format has its own ways to be broken
        raise BadInput(f"the image is damaged: {error}", field) from error


def _too_large(field: str) -> BadInput:
    return BadInput(f"more than {MAX_PIXELS} pixels; send a smaller image", field)


def write_image(image: Any, content_type: str = "image/png") -> Blob:
    """An image's file."""
    written = io.BytesIO()
    kind = _FORMATS[content_type]
    if kind == "JPEG" and image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    image.save(written, kind)
    return Blob(written.getvalue(), content_type)


def read_audio(content: bytes, rate: int, field: str) -> Any:
    """One channel of float32 at `rate` samples a second."""
    import av

    try:
        with av.open(io.BytesIO(content), options=_CONFINED) as container:
            if not container.streams.audio:
                raise BadInput("there is no sound in it", field)
            resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
            parts, samples = [], 0
            for frame in (*_frames(container), None):  # None: what the resampler still holds
                for piece in resampler.resample(frame):
                    parts.append(piece.to_ndarray()[0])
                    samples += len(parts[-1])
                    if samples > MAX_SECONDS * rate:
                        raise BadInput(f"more than {MAX_SECONDS} seconds; send it in parts", field)
    except (BadInput, MemoryError):
        raise
    except (av.FFmpegError, ValueError, UnicodeDecodeError) as error:
        message = f"not sound of a known format (WAV, FLAC, MP3, Ogg, M4A, WebM, …): {_plain(error)}"
        raise BadInput(message, field) from error
    if samples < MIN_SECONDS * rate:
        raise BadInput(f"less than {MIN_SECONDS} seconds of sound; send a longer recording", field)
    return np.concatenate(parts)


def _frames(container: Any) -> Any:
    yield from container.decode(audio=0)


def _plain(error: Exception) -> str:
    """The reason without the name that the library gives to a file in memory."""
    return getattr(error, "strerror", None) or str(error)


def write_wav(samples: Any, rate: int) -> Blob:
    """A WAV file of 16 bits from `[channels, samples]` or `[samples]` in −1 to 1."""
    channels = np.atleast_2d(np.asarray(samples, dtype=np.float32))
    numbers = (np.clip(np.nan_to_num(channels), -1, 1) * 32_767).astype("<i2")
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(len(numbers))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(numbers.T.tobytes())
    return Blob(written.getvalue(), "audio/wav")
