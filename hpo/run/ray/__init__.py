"""What the executor `ray` is made of; the only place that imports ray."""
