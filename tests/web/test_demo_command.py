"""``derefl demo`` as a process, and its errors."""

import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from derefl.cli import main
from derefl.web.local import is_loopback


def get(url, **headers):
    """Status and text of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_serves_until_it_is_told_to_end_and_leaves_nothing(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "derefl", "demo", "--host", "0.0.0.0", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    with process:
        try:
            first = process.stdout.readline()
            line = re.fullmatch(r"the page is at http://.+:(\d+)/ \(Ctrl-C ends it\)\n", first)
            url = f"http://127.0.0.1:{line.group(1)}/"
            assert process.stdout.readline() == (
                "it has no search of folders; --allow-folders adds it\n"
            )
            status, text = get(url, Host="named.example")
            assert status == 200
            assert "Remove a reflection" in text
            assert "Search photos" not in text
            assert len(list(tmp_path.iterdir())) == 1
            with urllib.request.urlopen(f"{url}gradio_api/heartbeat/visitor") as still_open:
                assert still_open.readline() == b"data: ALIVE\n"
                process.terminate()
                assert process.stdout.read() == ""
            assert process.wait() == 0
        finally:
            process.kill()
    assert list(tmp_path.iterdir()) == []


def test_only_the_page_is_served_and_only_under_a_name_of_this_machine(url):
    status, text = get(url)
    assert status == 200
    assert "Search photos" in text
    assert get(url, Host="localhost")[0] == 200
    assert get(url, Host="elsewhere.example")[0] == 400  # a name that was made to lead here
    assert get(f"{url}gradio_api/file=/etc/passwd")[0] == 403
    assert get(f"{url}gradio_api/file={__file__}")[0] == 403


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.7", False),
        ("localhost.example.com", False),
        ("", False),
    ],
)
def test_loopback(host, expected):
    assert is_loopback(host) is expected


def test_a_port_that_is_taken_is_said_before_any_work(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["demo", "--port", port]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"derefl: cannot listen on 127.0.0.1 port {port} (" in line
    assert "choose another --port" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
        (["--host", "no such name"], "cannot listen on no such name"),
        (["--host", "caf\udce9"], "cannot listen on caf"),
        (["--host", 300 * "x"], "cannot listen on xxx"),
        (["--port", "70000"], "got the port 70000, expected 0 to 65535"),
        (["--port", "-1"], "got the port -1, expected 0 to 65535"),
    ],
)
def test_addresses_that_cannot_be(options, words, capsys):
    assert main(["demo", *options]) == 1
    assert words in capsys.readouterr().err


def test_without_gradio_the_command_to_install_it_is_said(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo"]) == 1
    assert 'pip install "derefl[demo]"' in capsys.readouterr().err
