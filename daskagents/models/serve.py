"""Serve a GGUF model over the OpenAI interface on loopback, by llama.cpp; run as a script.

It prints its port and then serves until its standard input closes, which it does when the process
that started it ends, however that ends.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import Any

#: Tokens that one conversation may have, its answer included.
CONTEXT = 2_048


def main() -> None:
    """Serve the model that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", help="the GGUF file")
    parser.add_argument("--slots", type=int, required=True, help="conversations at a time")
    parser.add_argument("--threads", type=int, required=True, help="threads that compute")
    wanted = parser.parse_args()
    # Ctrl-C is for the process that started us; we end when it does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # llama.cpp writes to the standard output as well, which is for our one line.
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = _serve(wanted.weights, wanted.slots, wanted.threads)
    print(server.listening_address.rpartition(":")[2].rstrip("/"), file=output, flush=True)
    sys.stdin.buffer.read()
    # Not by returning: requests that are under way would be waited for.
    os._exit(0)


def _serve(weights: str, slots: int, threads: int) -> Any:
    """Start the server and return it once it listens."""
    # By default threads spin while they wait: ten times slower where others compute as well.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    # Not at the top: the package must import without it.
    import xllamacpp  # type: ignore[import-untyped, import-not-found, unused-ignore]

    params = xllamacpp.CommonParams()
    params.model.path = weights
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = slots
    params.n_ctx = slots * CONTEXT
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    # One thread holds each open connection, until it is idle for 5 s: others wait meanwhile.
    params.n_threads_http = 512
    params.cont_batching = True
    params.use_jinja = True
    # Each slot keeps the prompt that it had last, so that a common beginning is read once. Keeping
    # more prompts aside gained nothing for short ones, and takes up to 8 GB.
    params.cache_ram_mib = 0
    # Errors only.
    params.verbosity = 1
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
