"""Stoker as a service of systemd: which files that takes, and having systemd take them up."""
