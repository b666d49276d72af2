"""How fast the work is done, as ratios to what else could do it."""
