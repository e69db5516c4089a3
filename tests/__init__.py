"""The tests of tusd_py."""
