"""Numbers with units, as every command and report prints them."""

from __future__ import annotations

from datetime import datetime

UNKNOWN = "?"


def duration(seconds: float | None, *, unknown: str = UNKNOWN) -> str:
    """A duration in at most two units.

    >>> [duration(s) for s in (None, 0.25, 5, 40, 720, 11_100, 183_600)]
    ['?', '250 ms', '5.0 s', '40 s', '12 min', '3 h 05 min', '2 d 3 h']
    """
    if seconds is None:
        return unknown
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms" if seconds >= 0.0005 else "< 1 ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    return whole_duration(seconds)


def whole_duration(seconds: float | None, *, unknown: str = UNKNOWN) -> str:
    """A duration without fractions of seconds, where nobody needs them.

    >>> [whole_duration(s) for s in (None, 0.25, 40, 720, 11_100, 183_600)]
    ['?', '0 s', '40 s', '12 min', '3 h 05 min', '2 d 3 h']
    """
    if seconds is None:
        return unknown
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def seconds_since_1970(text: str | None) -> float:
    """A time as records have it (ISO 8601), in seconds since 1970; 0 where there is none.

    >>> seconds_since_1970("1970-01-01T00:01:00+00:00"), seconds_since_1970("then")
    (60.0, 0.0)
    """
    try:
        return datetime.fromisoformat(text or "").timestamp()
    except ValueError:
        return 0.0


def clock(seconds: float) -> str:
    """A duration as PBS writes a walltime.

    >>> clock(5400)
    '01:30:00'
    """
    whole = round(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def size(number_of_bytes: float) -> str:
    """A size in decimal units, as disks are sold.

    >>> [size(n) for n in (12, 4_300, 270e6, 48e9)]
    ['12 bytes', '4.3 kB', '270.0 MB', '48.0 GB']
    """
    for unit in ("bytes", "kB", "MB"):
        if number_of_bytes < 1000:
            return f"{number_of_bytes:.0f} {unit}" if unit == "bytes" else f"{number_of_bytes:.1f} {unit}"
        number_of_bytes /= 1000
    return f"{number_of_bytes:.1f} GB"


def gigabytes(megabytes: float | None, *, unknown: str = "-") -> str:
    """Memory in GB of 1024 MB, as PBS and GPU drivers count it.

    >>> gigabytes(45_000), gigabytes(None)
    ('43.9 GB', '-')
    """
    return unknown if megabytes is None else f"{megabytes / 1024:.1f} GB"


def plural(count: int, noun: str, many: str | None = None) -> str:
    """A count with its noun.

    >>> plural(1, "seed"), plural(36, "seed"), plural(2, "class", "classes")
    ('1 seed', '36 seeds', '2 classes')
    """
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"
