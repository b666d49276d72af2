"""One extraction: instances, moments, token entropies, attributions, shards."""
