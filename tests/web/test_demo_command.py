"""``derefl demo`` as a process, and its errors."""

import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request

from derefl.cli import main


def get(url, **headers):
    """Status and text of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_it_serves_until_it_is_told_to_end_and_leaves_nothing(checkpoint, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "derefl", "demo", "--port", "0", "--model", checkpoint],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    with process:
        try:
            first = process.stdout.readline()
            line = re.fullmatch(
                r"the page is at (http://127\.0\.0\.1:\d+/) \(press Ctrl-C to stop\)\n", first
            )
            url = line.group(1)
            assert get(url)[0] == 200
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
    assert "Remove a reflection" in text and "Search photos" in text
    assert get(url, Host="localhost")[0] == 200
    assert get(url, Host="elsewhere.example")[0] == 400  # a name that was made to lead here
    assert get(f"{url}gradio_api/file=/etc/passwd")[0] == 403
    assert get(f"{url}gradio_api/file={__file__}")[0] == 403


def test_a_port_that_cannot_be_used(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for port in (taken.getsockname()[1], 70_000, -1):
            assert main(["demo", "--port", str(port)]) == 1
            (line,) = capsys.readouterr().err.splitlines()
            assert f"derefl: cannot listen on port {port} (" in line
            assert "choose another --port" in line


def test_without_gradio_the_command_to_install_it_is_said(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["demo"]) == 1
    assert 'pip install "derefl[demo]"' in capsys.readouterr().err
