"""The words and numbers in the cells of a table, as spreadsheets of any language write them.

A number is read only if its decimal sign is certain: ``1,234`` is a thousand in one country and one in another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Of Excel and LibreOffice in their languages, of databases, R and SPSS; as str.casefold gives them. Without the
# French o: it may be a zero.
_TRUE = _words(
    """true t yes y wahr ja j vrai oui verdadero sí si vero sì verdadeiro sim waar sant sann sand ja tosi kyllä prawda tak
    pravda ano igaz igen doğru evet adevărat da истина да істина так αληθησ cert veritat tõene patiess"""
)
_FALSE = _words(
    """false f no n falsch nein faux non falso falsche falskt usann falsk nej nei nee onwaar epätosi ei fałsz nie nepravda
    ne hamis nem yanliş yanl\u0131ş hay\u0131r fals nu ложь нет хибність ні ψευδησ väär aplams não"""
)
# Cells without a value. A word with # is what a spreadsheet shows where a formula failed.
_MISSING = _words(
    """nan na n/a n.a. null none - . ? \N{EN DASH} \N{EM DASH} #n/a #nv #div/0! #num! #zahl! #nombre! #value! #wert!
    #valeur! #ref! #bezug! #name? #null! #err:502 #err:503"""
)
_INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# What separates thousands and is never a decimal sign.
_SPACED = re.compile(
    r"[+-]?\d{1,3}(?P<gap>[ '\N{RIGHT SINGLE QUOTATION MARK}])\d{3}((?P=gap)\d{3})*([.,]\d+)?"
)
_GAPS = str.maketrans("", "", " '\N{RIGHT SINGLE QUOTATION MARK}")
_SPACES = str.maketrans(dict.fromkeys("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}", " "))
_GROUPED = {
    ",": re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?"),
    ".": re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d+)?"),
}
_ONE_GROUP = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")  # a thousand, or a number with three decimals
_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")
_QUOTED = re.compile(r'="(.*)"|\'(.*)')  # how a spreadsheet marks a number as text


def is_missing(text: str) -> bool:
    """Whether a cell has no value."""
    return not text.strip() or text.strip().casefold() in _MISSING


def is_failed_formula(text: str) -> bool:
    """Whether a cell has the word of a formula that failed, such as ``#NUM!``, or ``####``."""
    return text.strip().startswith("#")


def truth(text: str) -> bool | None:
    """Whether a word or number says true; ``None`` without a value. Raises :class:`ValueError` for anything else."""
    word = text.strip().casefold()
    if is_missing(word):
        return None
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    try:
        value = Notation(commas=True, points=True).number(word)
    except ValueError:
        value = math.nan
    if value in (0.0, 1.0, -1.0):  # databases write -1 for true
        return value != 0
    raise ValueError("True or False")


@dataclass(frozen=True)
class Notation:
    """The decimal signs of a table. ``commas`` and ``points``: some number has it for certain.

    ``semicolons``: the cells are separated by semicolons, as where the comma is the decimal sign.
    """

    commas: bool
    points: bool
    semicolons: bool = False

    def number(self, text: str) -> float:
        """The number in a cell; NaN without a value. Raises :class:`ValueError` with what is expected."""
        if not self.commas and _NUMBER.fullmatch(text):
            return float(text)
        plain, share = _plain(text)
        if is_missing(plain) or _INFINITE.fullmatch(plain):
            return math.nan
        if _ONE_GROUP.fullmatch(plain) and not share:
            plain = self._one_group(plain)
        elif _GROUPED[","].fullmatch(plain) and not (share and _ONE_GROUP.fullmatch(plain)):
            plain = plain.replace(",", "")
        elif _GROUPED["."].fullmatch(plain) and not _ONE_GROUP.fullmatch(plain):
            plain = plain.replace(".", "").replace(",", ".")
        elif _COMMA.fullmatch(plain):
            plain = plain.replace(",", ".")
        if not _NUMBER.fullmatch(plain):
            raise ValueError("a number")
        return float(plain) / (100 if share else 1)

    def _one_group(self, plain: str) -> str:
        sign = "," if "," in plain else "."
        if self.commas and self.points:
            raise ValueError(
                f"a number whose {_NAMES[sign]} is clearly a decimal sign or separates thousands"
            )
        if sign == ".":
            return plain.replace(".", "") if self.commas else plain
        if self.points:
            return plain.replace(",", "")
        if self.commas or self.semicolons:
            return plain.replace(",", ".")
        raise ValueError(
            "a number with a decimal point (here the comma may be a decimal sign or separate thousands)"
        )


_NAMES = {",": "comma", ".": "point"}


def notation(texts: Iterable[str], *, semicolons: bool) -> Notation:
    """The decimal signs in the cells ``texts``, which may also be empty or words."""
    every = list(texts)
    if not any("," in text for text in every):
        return Notation(commas=False, points=True, semicolons=semicolons)
    signs = {_sign(text) for text in every if "," in text or "." in text}
    return Notation("," in signs, "." in signs, semicolons)


def _sign(text: str) -> str:
    """The decimal sign that a number shows for certain, empty if none."""
    plain, share = _plain(text)
    if _ONE_GROUP.fullmatch(plain) and not share:
        return ""
    if _ONE_GROUP.fullmatch(plain):
        return "," if "," in plain else "."
    if _GROUPED[","].fullmatch(plain):
        return "."
    if _COMMA.fullmatch(plain) or _GROUPED["."].fullmatch(plain):
        return ","
    return "." if _NUMBER.fullmatch(plain) else ""


def _plain(text: str) -> tuple[str, bool]:
    """A number without signs that have no meaning, and whether it is in percent."""
    plain = text.strip().replace("\N{MINUS SIGN}", "-").translate(_SPACES)
    marked = _QUOTED.fullmatch(plain)
    if marked:
        plain = (marked[1] or marked[2] or "").strip()
    share = plain.endswith("%")
    plain = plain.removesuffix("%").strip()
    return (plain.translate(_GAPS) if _SPACED.fullmatch(plain) else plain), share
