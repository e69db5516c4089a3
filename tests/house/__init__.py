"""The rules of the house, as tests over the source itself.

``source`` finds and parses the files, ``layers`` and ``habits`` hold the rules as pure functions
from one file to what is wrong with it. ``test_tree`` runs every rule over the real tree;
``test_rules`` shows of every rule that it can fail.
"""
