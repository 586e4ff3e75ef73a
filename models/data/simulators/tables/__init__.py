"""Simulators of tables in time order, each deterministic by its seed."""
