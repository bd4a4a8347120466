"""Measurements of plugind, each with a yardstick in the same run: ``python -m benchmarks``."""
