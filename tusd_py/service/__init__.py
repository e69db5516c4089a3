"""The order of I/O: lease, load, rule, write, commit, answer."""
