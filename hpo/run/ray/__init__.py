"""The executor `ray`: Ray Tune places the attempts; the only place that imports ray."""
