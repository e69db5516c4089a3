"""A standalone resumable-upload server for video platforms: tus 1.0.0, safe against every crash.

One direction: ``web`` → ``protocol`` → ``service`` → stores, state, hooks and auth; ``core`` has
the values and rules that all of them share. Whoever reads for the first time starts with
``core/upload``, ``service/uploads`` and the ``base`` of each family.

==============  ====================================================================
``core``        values and rules of uploads, pure
``protocol``    text of the wire to commands and back, pure, one file per protocol
``streams``     a body on its way from a client to a store
``digests``     hashing the bytes as they pass
``service``     the order of I/O: lease, load, rule, write, commit, answer
``stores``      where bytes and the facts beside them lie
``state``       where records, leases and the outbox live
``hooks``       whom we ask (gates) and whom we tell (sinks)
``auth``        from a token to claims
``web``         everything aiohttp: connections, bodies, resources
``settings``    the base of every part's settings
``config``      one tree of them, from file, environment and flags
``registry``    which class stands behind which name
``compose``     the one place that wires
``host``        this machine and this run of it
``logs``        rendering of log records
``metrics``     what is counted
``announce``    saying that the server is ready
``server``      one serving process, from start to stop
``supervisor``  several of them behind one socket
``cli``         the command ``tusd-py``
==============  ====================================================================
"""

__version__ = "0.3.0"
