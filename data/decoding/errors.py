"""What is wrong with an image or a mask."""

from __future__ import annotations

from data.base.errors import readable


class BadImageError(Exception):
    """An image or a mask that cannot be used; the message is the reason that the user reads."""

    def __init__(self, message: object = "") -> None:
        super().__init__(readable(str(message)))


def why_unusable(error: Exception) -> str:
    """Why a pair cannot be used, in one line, whatever its reader raised."""
    if isinstance(error, (BadImageError, OSError)) and str(error):
        return str(error)
    return f"cannot be read: {type(error).__name__} {error}".strip()
