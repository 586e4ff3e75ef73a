"""The search space of each family, as data: one file per family, named like the family.

`search_spaces.space.Space` is the type; `search_spaces.<family>.SPACE` the default space.
A family that learns tasks of different kinds has spaces for the others in `SPACES`, by task.
Only the standard library and `optuna.distributions` are used here.
"""
