"""Ray Tune as the hands; the only place that imports ray."""
