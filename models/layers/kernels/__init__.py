"""Compiled kernels for the CPU: C++ sources, and how they are built, cached and called."""
