"""The rigs themselves, tried against small servers made for it."""
