"""Data sets of finished curves: a file here with a function `open_table` is one.

`NAME` is the name of its folder below ``--data`` or ``$HPO_DATA`` and of the table.
"""
