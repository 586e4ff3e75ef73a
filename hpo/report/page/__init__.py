"""The report of a run: frozen data first, then a page, figures and the parts of a paper.

`history`, `panels` and `content` gather the data, which no rendering changes; `sentences` and
`methods` put it into words; `drawings` and its neighbours draw it with matplotlib; `svg`, `html`
and `folder` make the files.
"""
