"""What a tus 1.0.0 server owes its clients, shown on the wire against the real process."""
