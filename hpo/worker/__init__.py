"""The process that trains: one attempt at one trial, whatever executor started it.

`assignment` goes in and reports come out; `session` trains, `evaluation` scores what has been
trained, `epochs` keeps the records beside a checkpoint, `process` is the child process of the
executor `local`, `environment` sets what must be set before JAX loads, and `pickling` ships a
`create` function.
"""
