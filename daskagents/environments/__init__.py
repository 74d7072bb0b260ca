"""Environments: the state of the world that agents share, in versions."""
