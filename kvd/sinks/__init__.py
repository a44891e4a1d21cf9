"""Where smiles go: the stream, the pages beside it, a file."""
