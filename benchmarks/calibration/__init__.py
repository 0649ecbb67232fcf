"""Simulations with known truth: how often the analysis is wrong, and how much it finds. ``make calibrate``."""
