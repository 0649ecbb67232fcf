"""The reports: the findings as text, as an HTML page and as JSON. May import all of :mod:`analysis`."""
