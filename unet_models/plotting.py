"""Matplotlib as this product draws with it, whatever the user's ``matplotlibrc``, style or backend.

Import this module before Matplotlib: LaTeX for text, which most clusters lack, a backend that needs a screen, and fonts
and sizes for someone's poster must not reach a picture of a run.
"""

from __future__ import annotations

import logging
import os

# It would print what it dislikes in the user's file, and that it has no folder for its cache of fonts.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

_exists = os.path.exists
# A file that is not UTF-8, or that the user may not read, ends the import of Matplotlib. The one in the working directory
# comes before the one that MATPLOTLIBRC names, which this package has set.
os.path.exists = lambda path: path != "matplotlibrc" and _exists(path)
try:
    import matplotlib as mpl
finally:
    os.path.exists = _exists

mpl.rcdefaults()
mpl.use("Agg")
