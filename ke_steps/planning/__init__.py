"""What a study costs, what a run would do now, and why."""
