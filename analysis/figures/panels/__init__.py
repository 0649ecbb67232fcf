"""The panels of ``comprehensive_analysis.png``: each kind in a module, what they share in :mod:`.sheet`."""
