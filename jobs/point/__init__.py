"""One point: who trains it (claims), how it is trained and resumed, how it ends, and what its files say about it.

May import the rooms :mod:`jobs.common`, :mod:`jobs.grid`, :mod:`jobs.run` and :mod:`jobs.pbs`. A result is published in
:mod:`jobs.point.publication`; the classes of failure, and which are retried, are in :mod:`jobs.common.states`.
"""
