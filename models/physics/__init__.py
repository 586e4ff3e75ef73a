"""Physics: equations that a person states, their coefficients, and how they are solved."""
