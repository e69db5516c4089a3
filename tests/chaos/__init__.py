"""The kill test: under load the server dies at random moments, and nothing that was said is lost.

``python -m tests.chaos`` runs it for long, a test runs it shortly. Many clients upload small and
large files over a line that breaks; the process group gets SIGKILL again and again; the receiver
of events is away now and then. What each client was told is written down (``ledger.py``) and is
held against what the server says and what lies on its disk. ``machines.py`` does the same to three
servers that share a Redis which fails over.
"""
