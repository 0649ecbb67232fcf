"""One way for all readers to fail: with a :class:`DataError` that names the file."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator

from unet_models.data.errors import DataError


@contextlib.contextmanager
def guarded(name: str, expected: str) -> Iterator[None]:
    """Turn every exception of a library into a :class:`DataError` about the file ``name``, and print no warning.

    ``expected`` is what the file should be, for the message.
    """
    try:
        with warnings.catch_warnings():
            # Programs write odd headers. What matters is checked by the readers, one by one.
            warnings.simplefilter("ignore")
            with _silent_libraries():
                yield
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(
            f"{name} needs more memory than there is; is its size in the header right?"
        ) from error
    except Exception as error:  # libraries raise more than fifty kinds on damaged files
        words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise DataError(f"{name} cannot be read as an image ({words}); expected {expected}") from error


@contextlib.contextmanager
def _silent_libraries() -> Iterator[None]:
    """Nothing that libpng, libjpeg or others print by themselves reaches the terminal; Python prints nothing here."""
    try:
        kept = os.dup(2)
    except OSError:  # closed
        yield
        return
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 2)
        os.close(nothing)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
