"""The state of many hosts, in Redis (6.2 or newer) or Valkey: one server, Sentinel, or Cluster.

Every change is one Lua script in one slot (``scripts``), sent through ``link``, which is bounded in
time whatever becomes of Redis. ``peers`` hears of the other processes.
"""
