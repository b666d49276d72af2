"""The conditions that new knowledge is measured under, in the order of tables."""

from __future__ import annotations

CONDITIONS = ("paraphrase", "once", "all")
"""Passages injected again and again in other words, passages injected once, and both."""
