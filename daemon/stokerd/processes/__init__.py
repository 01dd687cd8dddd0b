"""Supervised processes: named, long-running programs, kept up as their restart policy says."""
