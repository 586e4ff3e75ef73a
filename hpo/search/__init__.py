"""How configurations are proposed: samplers by name, rebuilt for every proposal."""
