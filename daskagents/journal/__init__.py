"""The journal of a run: every answer of a model, written down before it is used."""
