"""A whole run at one moment: progress from files, the scheduler's view of it, and the summary file.

May import every room but :mod:`jobs.cost`.
"""
