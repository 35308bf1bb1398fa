"""A bar for people at a terminal, plain lines in a file."""

import os
import pty
import re
import subprocess
import sys
import termios

WORK = """
import logging, time
from sami import progress
logging.basicConfig(level=logging.INFO, format="%(message)s")
progress.LOG_EVERY = 0.05
with progress.Progress(8, "sampling", "responses") as bar:
    for _ in range(8):
        time.sleep(0.03)
        bar.update(1, loss=0.5)
"""


def test_file_gets_plain_lines():
    printed = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, check=True).stderr
    assert "\r" not in printed
    assert "%|" not in printed
    lines = printed.splitlines()
    assert 3 <= len(lines) <= 6
    assert re.fullmatch(r"sampling: \d of 8 responses, \d+\.\d\d/s, \d+ s left, loss 0\.500", lines[0])
    assert re.fullmatch(r"sampling: 8 responses in \d+ s \(\d+\.\d\d/s\)", lines[-1])


def test_terminal_gets_a_bar():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    environment = {name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"}
    process = subprocess.Popen([sys.executable, "-c", WORK], stderr=theirs, env=environment)
    os.close(theirs)
    printed = b""
    try:
        while part := os.read(ours, 4096):
            printed += part
    except OSError:  # the terminal closes with the process
        pass
    assert process.wait() == 0
    text = printed.decode()
    assert re.search(r"sampling:\s+\d+%\|", text)
    assert re.search(r"\d+(\.\d+)? responses/s", text)
    assert re.search(r"\[\d\d:\d\d<\d\d:\d\d", text)  # elapsed < remaining
