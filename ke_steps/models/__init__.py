"""Checkpoints as torch models: loading, feed-forward memories, intervening, ranks."""
