"""PBS: its commands, the arguments of ``qsub``, job arrays, and the record of what was submitted.

May import :mod:`jobs.common`, :mod:`jobs.grid` and :mod:`jobs.run`. :mod:`jobs.pbs.commands` is the only module
that calls the commands of PBS.
"""
