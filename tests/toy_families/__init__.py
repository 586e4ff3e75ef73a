"""Toy families, one file each, of the kinds that come next; see `docs/architecture.md`."""
