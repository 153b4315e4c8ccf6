"""Measures Semblance: stock perf_analyzer, and what it measures with."""
