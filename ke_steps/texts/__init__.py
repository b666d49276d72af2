"""World, files, datasets and token files become documents, tokens, sequences; and passages."""
