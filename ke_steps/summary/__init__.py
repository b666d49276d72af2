"""Results of all jobs as tidy tables: quantities, rows, points, runs, correlations."""
