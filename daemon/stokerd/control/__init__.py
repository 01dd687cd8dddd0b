"""The control socket: frames, sessions, requests and their handlers."""
