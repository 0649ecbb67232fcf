"""Used everywhere: errors and exit codes, the classes of a point's life, signals, units, records and their schema.

Imports no other room.
"""
