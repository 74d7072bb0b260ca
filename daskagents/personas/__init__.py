"""Populations of different people, made from a file that describes them."""
