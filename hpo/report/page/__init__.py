"""The report of runs: frozen data first, then a page, figures and the parts of a paper.

`history`, `panels`, `excerpts` and `content` gather the data of a run, `group` that of several
searches; no rendering changes it. `sentences` and `methods` put it into words; `drawings` and its
neighbours draw it with matplotlib. A page is made of `parts`, a run or a group each; `svg`, `html`,
`text` and `folder` make the files.
"""
