"""A run as frozen data (`summary`, `verdicts`) and what it is rendered to."""
