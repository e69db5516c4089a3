"""The services on a real store and a real state, through every kind of death."""
