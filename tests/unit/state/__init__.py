"""Tests of the state stores that are no part of their contract."""
