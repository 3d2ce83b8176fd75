"""What the course's helpers gain in time, measured against plain ways to do the same: ``python -m benchmarks``."""
