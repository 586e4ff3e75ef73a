"""Searching again over curves that are finished: the very same Director, in virtual time.

`task` is what can be searched (a space with its curves), `pool` one that is finite, `virtual`
a trial loop without workers, `own` a run as such a task and its decisions taken once more,
`compare` methods against methods; `tables` has the data sets of curves, one file each.
"""
