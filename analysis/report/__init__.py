"""The findings as text, as a page and as JSON, and the command that writes them all. May import all of :mod:`analysis`."""
