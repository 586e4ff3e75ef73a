"""One `STUDY` per file, found by name: `hpo launch quickstart`."""
