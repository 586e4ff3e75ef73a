"""One sampler per file, each a frozen dataclass `Sampler` named after its file."""
