"""Log probabilities of spans, and the probes and tasks made of them."""
