"""Steps of the knowledge-entropy workflow: one module per Snakemake rule."""
