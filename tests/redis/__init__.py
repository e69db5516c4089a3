"""The state in Redis on real servers: its keys, its round trips, how to connect, its faults."""
