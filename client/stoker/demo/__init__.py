"""What ``stoker demo`` does: the functions that run in workers, and the steps that use them."""
