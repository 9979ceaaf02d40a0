"""What may be written as an address to listen on, and what it names."""

import pytest

from exporter.config.address import HostPort, UnixPath, read_address

HOST_PORT = r"^must be host:port, such as 127\.0\.0\.1:9101, .* or unix:/path/to\.sock$"
ABSOLUTE = r"^must have an absolute path, such as unix:/run/"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("127.0.0.1:9101", HostPort("127.0.0.1", 9101)),
        ("127.0.0.1:09101", HostPort("127.0.0.1", 9101)),
        ("[::1]:0", HostPort("::1", 0)),
        ("[fe80::1%eth0]:1", HostPort("fe80::1%eth0", 1)),
        (":65535", HostPort("", 65535)),
        ("a_b.example.com:80", HostPort("a_b.example.com", 80)),
        ("unix:/run/a b.sock", UnixPath("/run/a b.sock")),
        ("unix:///run/a.sock", UnixPath("/run/a.sock")),
        ("unix:/" + "a" * 106, UnixPath("/" + "a" * 106)),
    ],
)
def test_an_address_is_read(text, meant):
    assert read_address(text) == meant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9101",
        "host",
        "h:",
        "h:x",
        "::1:80",
        "[::1]",
        "[x]:1",
        "[::1%]:1",
        "[]:1",
        "a b:1",
        "h:65536",
        "h:-1",
        "h:٣",
        "h:1\n",
        "h\n:1",
        "-h:1",
        "http://h:1",
        "/run/a.sock",
        "UNIX:/run/a.sock",
    ],
)
def test_what_is_no_address_is_explained(text):
    with pytest.raises(ValueError, match=HOST_PORT):
        read_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "unix:",
        "unix:80",
        "unix:/",
        "unix:a.sock",
        "unix:./a",
        "unix://run/a",
        "unix:@a",
        "unix:/a\n",
        "unix:/\0",
    ],
)
def test_a_socket_needs_an_absolute_path(text):
    with pytest.raises(ValueError, match=ABSOLUTE):
        read_address(text)


def test_a_path_is_measured_in_bytes():
    with pytest.raises(ValueError, match=r"at most 107 bytes for a Unix socket, not 109$"):
        read_address("unix:/" + "ä" * 54)
