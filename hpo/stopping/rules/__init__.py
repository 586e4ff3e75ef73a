"""One stopping rule per file, each a frozen dataclass `StoppingRule` named after its file."""
