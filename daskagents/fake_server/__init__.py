"""A server with the OpenAI interface and no model behind it, for tests; see `daskagents.testing`.

It runs as a script in a process of its own and imports nothing of the package but itself, so that
it is ready in a moment.
"""
