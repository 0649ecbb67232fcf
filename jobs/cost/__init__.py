"""What a search costs: probes that measure it, estimates, and what to request from PBS.

Only ``probe_training`` uses TensorFlow, in a process of its own.
May import every other room, but none of the commands on the first level of :mod:`jobs`.
"""
