"""The public door: measuring one model by a call, by a command, and while it is trained."""
