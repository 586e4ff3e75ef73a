"""Which trials end before their budget is spent: rules by name, pure functions of the log."""
