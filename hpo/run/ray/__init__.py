"""The parts of the executor `ray`; the only place that imports ray."""
