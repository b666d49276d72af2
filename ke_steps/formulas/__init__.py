"""Numbers without files or models: entropy, A and F, decay, divergence, the bootstrap."""
