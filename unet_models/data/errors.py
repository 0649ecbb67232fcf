"""The error of everything that reads or checks data."""

from __future__ import annotations


class DataError(Exception):
    """The data cannot be used; the message names the file, what was found, what is expected and what to do next."""
