"""The rigs that tests stand on: real processes, real sockets, a bad network, a full disk."""
