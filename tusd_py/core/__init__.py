"""Values and rules of uploads: pure, no clock, no disk, no network, no randomness of its own."""
