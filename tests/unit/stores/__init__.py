"""Tests of the byte stores' own parts."""
