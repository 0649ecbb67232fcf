"""What a search costs: measurements, estimates, and what to request from PBS.

May import every other room, but none of the commands on the first level of :mod:`jobs`.
"""
