"""The tables and words of the report, and the published numbers beside them."""
