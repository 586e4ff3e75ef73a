"""The driver of a run: carries out what the Director decides, on any executor."""
