"""The pool: a named set of workers with a queue."""
