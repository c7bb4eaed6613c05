"""What a worker does, one file per loop or duty."""
