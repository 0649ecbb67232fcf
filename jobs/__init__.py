"""Running the search: the grid, its index, the run directory, records, and the commands a user types.

Nothing in this package imports TensorFlow at module level: a command that answers a user at the
prompt must not wait ten seconds for it.
"""
