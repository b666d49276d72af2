"""One run of a study: its lock, leftovers of an earlier one, Snakemake's memory."""
