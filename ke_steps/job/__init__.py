"""A step as a job: command line, record, provenance, endings, errors; never in a digest."""
