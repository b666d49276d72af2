"""Checkpoints on disk: families, weight files, writing, and checks of what comes from outside."""
