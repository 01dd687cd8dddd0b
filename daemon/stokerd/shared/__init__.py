"""Shared objects: queues, locks and values that live in the daemon."""
