"""The figures: style, panels, one file per subject, and what each figure needs."""
