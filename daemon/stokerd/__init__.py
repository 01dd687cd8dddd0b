"""stokerd: the daemon that owns the pool, the burners and the supervised processes."""
