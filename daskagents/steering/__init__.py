"""Steering a run that is under way, and asking its agents from outside."""
