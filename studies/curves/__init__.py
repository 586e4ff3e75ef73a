"""Whole learning curves of the shipped spaces: what stopping rules are chosen on.

    python -m studies.curves record --results DIR [--sets A,B]
    python -m studies.curves pack --results DIR [--earlier FILE.npz] OUT.npz

`sets` says what is trained, `recording` trains it (without any rule that compares trials),
`packing` writes the curves into the one file that `hpo simulate own_curves` reads; sets of an
earlier such file are kept.
"""
