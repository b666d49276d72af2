"""Estimates, findings, and the verdict on each claim."""
