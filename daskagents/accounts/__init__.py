"""What all workers of a run share, as state machines: no I/O, no Dask, and time is passed in."""
