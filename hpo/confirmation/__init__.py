"""Whether the winners of a search differ: chosen, trained with new seeds, and judged once."""
