"""Nonsense for every parser of what comes from a client.

Shown of each: only the documented errors escape, work grows with the length of a text and not with
its square, and nothing is kept of what was read. Any test of any folder that is marked ``fuzz``
takes part: a modest number of examples each in ``make test``, a large one in ``make fuzz``. Such a
test sets no ``max_examples`` of its own.
"""
