"""Forkservers: one single-threaded process per environment, and all that the daemon has of it and of its children."""
