import socket

import pytest


def test_a_test_cannot_reach_the_network():
    with pytest.raises(RuntimeError, match="blocked"):
        socket.create_connection(("127.0.0.1", 9), timeout=1)
    with socket.socket() as connection, pytest.raises(RuntimeError, match="blocked"):
        connection.connect(("127.0.0.1", 9))
    with socket.socket() as server, pytest.raises(RuntimeError, match="blocked"):
        server.bind(("127.0.0.1", 0))


def test_processes_of_this_machine_can_talk():
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"ping")
        assert right.recv(4) == b"ping"
