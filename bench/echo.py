"""`python -m bench.echo ENDPOINT`: answers each message with itself until it is ended; the floor of a round trip."""

from __future__ import annotations

import sys

import zmq


def main() -> None:
    """Bind a ROUTER, say where, and echo."""
    socket: zmq.Socket[bytes] = zmq.Context[zmq.Socket[bytes]]().socket(zmq.ROUTER)
    socket.bind(sys.argv[1])
    print(socket.getsockopt_string(zmq.LAST_ENDPOINT), flush=True)
    while True:
        socket.send_multipart(socket.recv_multipart())


if __name__ == "__main__":
    main()
