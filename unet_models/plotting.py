"""Matplotlib as this product draws with it, whatever the user's ``matplotlibrc``, style or backend.

Import this module before Matplotlib: LaTeX for text, which most clusters lack, a backend that needs a screen, and fonts
and sizes for someone's poster must not reach a picture of a run.
"""

from __future__ import annotations

import logging
import os

# Names of a backend that Matplotlib does not know end its import.
os.environ["MPLBACKEND"] = "Agg"
# It would print what it dislikes in the user's file, and that it has no folder for its cache of fonts.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

import matplotlib as mpl  # noqa: E402 - after what it reads

mpl.rcdefaults()
mpl.use("Agg")
