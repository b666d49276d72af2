"""Tests of the workflow and of every step."""
