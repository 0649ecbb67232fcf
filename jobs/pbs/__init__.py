"""The scheduler: ``qsub``, ``qstat`` and ``qalter``, array jobs, and the record of what was submitted.

May import :mod:`jobs.common`, :mod:`jobs.grid` and :mod:`jobs.run`. Only :mod:`jobs.pbs.scheduler` runs PBS commands.
"""
