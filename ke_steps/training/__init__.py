"""The loop, its batches, injection, resuming, sharding."""
