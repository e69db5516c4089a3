"""Shows that the benchmark measures; what it measures is nobody's test."""
