"""One module per verb: ``arguments(parser)`` declares its options, ``run(args, out)`` does it, returns the exit code.

Imported when its verb is used and not before.
"""
