"""Downloads from a local server: resume, checksum, and servers that cannot resume."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from partoken.system.download import download

CONTENT = bytes(range(256)) * 5000
NAME = "chains.npz"


class Server:
    """Serves `CONTENT` at /file and its description at /listing, and records where each request starts."""

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.checksum = hashlib.md5(CONTENT).hexdigest()
        self.can_resume = True
        self.breaks_after: int | None = None
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                if self.path == "/listing":
                    files = [{"key": NAME, "size": len(CONTENT), "checksum": f"md5:{server.checksum}"}]
                    self.answer(200, json.dumps({"files": files}).encode())
                elif self.path == "/file":
                    self.send_content()
                else:
                    self.answer(404, b"")

            def send_content(self):
                start = int(self.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
                server.starts.append(start)
                if start >= len(CONTENT):
                    self.answer(416, b"")
                elif server.can_resume and start:
                    self.answer(206, CONTENT[start:])
                else:
                    self.answer(200, CONTENT)

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: server.breaks_after])

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "missing/folder" / NAME


def names(target):
    return sorted(path.name for path in target.parent.iterdir())


def test_a_complete_file_is_renamed_to_the_target(server, target):
    download(f"{server.url}/file", target, f"{server.url}/listing")
    assert target.read_bytes() == CONTENT
    assert names(target) == [NAME]


def test_a_broken_download_is_an_error_and_the_next_one_resumes_it(server, target):
    server.breaks_after = 400_000
    with pytest.raises(OSError, match="400000 of 1280000 bytes"):
        download(f"{server.url}/file", target)
    assert names(target) == [f"{NAME}.partial"]

    server.breaks_after = None
    download(f"{server.url}/file", target)
    assert target.read_bytes() == CONTENT
    assert server.starts == [0, 400_000]


def test_a_server_that_cannot_resume_sends_the_file_from_its_start(server, target):
    target.parent.mkdir(parents=True)
    target.with_name(f"{NAME}.partial").write_bytes(CONTENT[:1000])
    server.can_resume = False
    download(f"{server.url}/file", target)
    assert target.read_bytes() == CONTENT


def test_a_partial_file_that_is_complete_is_only_renamed(server, target):
    target.parent.mkdir(parents=True)
    target.with_name(f"{NAME}.partial").write_bytes(CONTENT)
    download(f"{server.url}/file", target)
    assert target.read_bytes() == CONTENT


def test_a_partial_file_of_another_version_is_replaced(server, target):
    target.parent.mkdir(parents=True)
    target.with_name(f"{NAME}.partial").write_bytes(b"another version")
    download(f"{server.url}/file", target, f"{server.url}/listing")
    assert target.read_bytes() == CONTENT
    assert server.starts == [len(b"another version"), 0]


def test_a_wrong_checksum_is_an_error_after_two_downloads_and_leaves_no_file(server, target):
    server.checksum = "0" * 32
    with pytest.raises(OSError, match="has the checksum"):
        download(f"{server.url}/file", target, f"{server.url}/listing")
    assert names(target) == []
    assert server.starts == [0, 0]


def test_a_missing_file_is_an_error_with_its_address(server, target):
    with pytest.raises(OSError, match="/nowhere: 404"):
        download(f"{server.url}/nowhere", target)
