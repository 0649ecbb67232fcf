"""The panels of ``comprehensive_analysis.png``: one module per kind, and :mod:`.sheet` for the data that they share."""
