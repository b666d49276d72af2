"""The Hugging Face hub: calls that are tried again, refs, snapshots."""
