"""Simulators shipped with the project, each deterministic by its seed.

They run in a process of their own (`models.data.cache`), so that whoever asks for simulated
data never initialises JAX and the ODEs can be solved in float64.
"""
