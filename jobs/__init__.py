"""Running the search. The modules on this level are commands (``python -m jobs.NAME``); their machinery is in the rooms.

Each room may import those before it: common, grid, run, pbs, point, monitor, cost, commands. ``make lint`` checks
that. Nothing here imports TensorFlow at module level: a command that answers at the prompt must not wait for it.
"""
