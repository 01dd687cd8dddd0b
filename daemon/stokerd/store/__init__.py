"""What is kept on disk of accepted jobs: SQLite for rows, files for large payloads, one thread that writes both."""
