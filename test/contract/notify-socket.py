# SPDX-License-Identifier: Apache-2.0
"""Plays systemd's notify socket: prints what arrives at the socket argv[1], a line each. Node has no such sockets."""
import socket
import sys

with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
    end.bind(sys.argv[1])
    print("LISTENING", flush=True)
    while True:
        print(end.recv(4096).decode(), flush=True)
