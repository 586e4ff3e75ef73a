"""Bodies that turn, seen by sensors that turn with them; a program beside the others."""
