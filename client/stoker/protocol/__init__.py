"""The wire protocol: pure, shared by client and daemon. No sockets, no threads, no clock."""
