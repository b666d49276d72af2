"""Reading and refusing a study, and what its jobs receive and ask for."""
