"""Downloads from a server on this machine that keeps to no rule."""
import concurrent.futures
import contextlib
import gzip
import hashlib
import http.server
import os
import shutil
import ssl
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest

import dataset
from common.errors import InputError
from dataset import download, ptb

pytestmark = pytest.mark.promise("A download lands in the cache, whole and checked, or nowhere")

# Invented text in the format of the files.
TEXTS = {
    "train": b" a dog saw <unk> cats \n the dog ran N miles \n",
    "valid": b" the cats saw a dog \n",
    "test": b" N dog ran \n",
}
GOOD = TEXTS["train"]
SHA256 = {split: hashlib.sha256(text).hexdigest() for split, text in TEXTS.items()}
SIZES = {split: len(text) for split, text in TEXTS.items()}


class Server(http.server.ThreadingHTTPServer):
    """Answers each request by `answer(handler)`, and notes the paths that were asked for."""

    def __init__(self):
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.paths.append(self.path)
                server.answer(self)

            def log_message(self, *args):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.paths = []
        self.answer = good
        self.over = threading.Event()  # who stalls waits for this

    def handle_error(self, request, client_address):
        pass  # who hangs up early is what is tested


@contextlib.contextmanager
def serving():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def server(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def trust():
    return download._trust()  # takes longer than a test


@pytest.fixture
def cache(server, trust, tmp_path, monkeypatch):
    """A cache folder that is still to be made, for the three texts on the server."""
    monkeypatch.delenv("RNN_DATA_DIR", raising=False)
    monkeypatch.setattr(ptb, "URL", server.url)
    monkeypatch.setattr(ptb, "SHA256", SHA256)
    monkeypatch.setattr(ptb, "SIZES", SIZES)
    monkeypatch.setattr(download, "TIMEOUT", 60)
    monkeypatch.setattr(download, "_trust", lambda: trust)
    folder = tmp_path / "around" / "cache"
    monkeypatch.setattr(ptb, "cache_folder", lambda: folder)
    folder.parent.mkdir()
    (folder.parent / "neighbour.txt").write_text("a file of someone else")
    return folder


def listing(cache):
    """Return the content of every file around the cache, by its path; None for a folder."""
    around = cache.parent.parent
    return {str(path.relative_to(around)): None if path.is_dir() else path.read_bytes() for path in around.rglob("*")}


def refused(split="train"):
    """Return the message of the error that a download ends with."""
    with pytest.raises(InputError) as caught:
        ptb.find_file(split)
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and message.isascii() and message.isprintable() and len(message) < 800
    assert f"into {ptb.cache_folder()} by hand, or set RNN_DATA_DIR to their folder" in message
    return message


def send(handler, body, status=200, length=None, headers=()):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers:
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def good(handler, headers=()):
    send(handler, TEXTS[handler.path.split(".")[-2]], headers=headers)


def answers(body, **options):
    return lambda handler: send(handler, body, **options)


def raw(sent):
    """Answer with bytes that may be no HTTP."""
    return lambda handler: handler.wfile.write(sent)


def stalls(body):
    """Send some of an answer, and then nothing."""
    def answer(handler):
        handler.wfile.write(body)
        handler.server.over.wait(60)  # and then hang up

    return answer


@pytest.mark.parametrize("split", TEXTS)
def test_a_good_file_is_downloaded_once_and_used(server, cache, split):
    before = listing(cache)
    assert ptb.find_file(split).read_bytes() == TEXTS[split]
    assert listing(cache) == before | {"around/cache": None, f"around/cache/ptb.{split}.txt": TEXTS[split]}
    assert ptb.find_file(split) == cache / f"ptb.{split}.txt"
    assert server.paths == [f"/ptb.{split}.txt"]


def test_a_file_without_a_length_or_in_chunks_is_good_too(server, cache):
    for head, body in ((b"", GOOD), (b"Transfer-Encoding: chunked\r\n", b"5\r\n" + GOOD[:5] + b"\r\n%x\r\n" % (
            len(GOOD) - 5) + GOOD[5:] + b"\r\n0\r\n\r\n")):
        server.answer = raw(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + body)
        assert ptb.find_file("train").read_bytes() == GOOD
        (cache / "ptb.train.txt").unlink()


OK = b"HTTP/1.0 200 OK\r\n"
LENGTH = b"Content-Length: %d\r\n\r\n" % len(GOOD)
BAD = {  # what the server does -> its answer, what the error says
    "other content": (answers(b"x" * len(GOOD)), "its content is not the expected one"),
    "one byte changed": (answers(GOOD[:-1] + b" "), "its content is not the expected one"),
    "more after it": (answers(GOOD + b" "), "its content is not the expected one"),
    "nothing": (answers(b""), "it ended after 0 of"),
    "a page": (answers(b"<html>"), "it ended after 6 of"),
    "compressed": (lambda handler: send(handler, gzip.compress(GOOD), headers=[("Content-Encoding", "gzip")]), ""),
    "cut short": (answers(GOOD[:9], length=len(GOOD)), ""),
    "cut short, without a length": (raw(OK + b"\r\n" + GOOD[:9]), "it ended after 9 of"),
    "cut short in a chunk": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\n" + GOOD[:9]), ""),
    "no chunk": (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nmany\r\n" + GOOD), ""),
    "hangs up": (raw(b""), ""),
    "hangs up in its headers": (raw(OK + b"Content-"), ""),
    "no HTTP": (raw(b"220 \x1b[31m ready\r\n\xff\r\n"), ""),
    "a status that is no number": (raw(b"HTTP/1.0 fine\r\n\r\n" + GOOD), ""),
    "a long status that is no number": (raw(b"HTTP/1.0 " + b"a" * 60_000 + b"\r\n\r\n" + GOOD), ""),
    "a status without end": (raw(b"HTTP/1.0 200 " + b"a" * 10**6), ""),
    "headers without end": (raw(OK + b"A: b\r\n" * 10**5), ""),
    **{f"status {status}": (answers(GOOD, status=status), f"the server answered with status {status}, wanted 200")
       for status in (201, 206, 300, 401, 403, 404, 407, 410, 429, 500, 503)},
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_answer_leaves_nothing(server, cache, what):
    server.answer, reason = BAD[what]
    before = listing(cache)
    assert f"downloading {server.url}ptb.train.txt failed ({reason}" in refused()
    assert listing(cache) == before
    assert server.paths == ["/ptb.train.txt"]


@pytest.mark.parametrize("sent", [b"", OK, OK + LENGTH, OK + LENGTH + GOOD[:9], OK + b"\r\n" + GOOD], ids=[
    "before the status", "in the headers", "before the content", "in the content", "after content without a length"])
def test_a_server_that_falls_silent_is_given_up(server, cache, monkeypatch, sent):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    server.answer = stalls(sent)
    before = listing(cache)
    assert "failed (timed out)" in refused()
    assert listing(cache) == before


@pytest.mark.parametrize("head", [b"\r\n", b"Content-Length: 1000000000000\r\n\r\n"], ids=["no length", "a terabyte"])
def test_no_more_is_read_than_the_file_has(server, cache, head):
    megabytes = 0

    def endless(handler):
        nonlocal megabytes
        handler.wfile.write(OK + head)
        while megabytes < 500:
            handler.wfile.write(bytes(2**20))
            megabytes += 1

    server.answer = endless
    before = listing(cache)
    assert "its content is not the expected one" in refused()
    server.over.set()
    assert listing(cache) == before
    assert megabytes < 500  # what lies in the buffers between both is a few


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("target", [
    "/elsewhere/ptb.train.txt", "ptb.train.txt?again", "http://localhost:{port}/ptb.train.txt",
    "https://127.0.0.1:{port}/ptb.train.txt", "file://{file}", "ftp://127.0.0.1:{port}/ptb.train.txt", "//", ""])
def test_no_redirect_is_followed_even_to_the_right_content(server, cache, tmp_path, target, status):
    file = tmp_path / "right.txt"
    file.write_bytes(GOOD)
    location = target.format(port=server.server_port, file=file)

    def redirect(handler):
        if len(server.paths) > 1:
            return good(handler)
        send(handler, GOOD, status=status, headers=[("Location", location)])

    server.answer = redirect
    before = listing(cache)
    assert f"the server answered with status {status}, wanted 200" in refused()
    assert listing(cache) == before
    assert len(server.paths) == 1


@pytest.fixture
def certificate(server, cache, tmp_path_factory, monkeypatch):
    """Make the server one of HTTPS, with a certificate for 127.0.0.1 that nobody has signed; return the certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test", "-addext",
                    "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key.pem", "-out", folder / "certificate.pem"],
                   check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    monkeypatch.setattr(ptb, "URL", server.url.replace("http:", "https:"))
    return folder / "certificate.pem"


@pytest.fixture
def trusted(certificate, monkeypatch):
    context = ssl.create_default_context(cafile=certificate)
    monkeypatch.setattr(download, "_trust", lambda: context)


def test_a_server_of_https_is_asked(server, cache, trusted):
    assert ptb.find_file("train").read_bytes() == GOOD


def test_a_certificate_that_nobody_trusts_is_refused(server, cache, certificate):
    before = listing(cache)
    assert "CERTIFICATE_VERIFY_FAILED" in refused()
    assert listing(cache) == before and server.paths == []


def test_a_certificate_of_another_server_is_refused(server, cache, trusted, monkeypatch):
    monkeypatch.setattr(ptb, "URL", f"https://localhost:{server.server_port}/")
    monkeypatch.setenv("no_proxy", "localhost")
    before = listing(cache)
    assert "CERTIFICATE_VERIFY_FAILED" in refused()
    assert listing(cache) == before and server.paths == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_leads_from_https_to_http(server, cache, trusted, status):
    with serving() as plain:
        server.answer = answers(GOOD, status=status, headers=[("Location", f"{plain.url}ptb.train.txt")])
        before = listing(cache)
        assert f"the server answered with status {status}, wanted 200" in refused()
        assert listing(cache) == before
    assert plain.paths == []


def test_a_server_without_a_certificate_is_refused(server, cache, monkeypatch):
    monkeypatch.setattr(ptb, "URL", server.url.replace("http:", "https:"))
    before = listing(cache)
    assert "SSL" in refused()
    assert listing(cache) == before and server.paths == []


def test_the_real_address_is_of_https():
    assert ptb.URL.startswith("https://") and ptb.URL.endswith("/")


def test_the_certificates_of_certifi_are_added_where_it_is_installed(monkeypatch):
    files = []
    certifi = types.SimpleNamespace(where=lambda: "certificates.pem")
    monkeypatch.setattr(download.ssl.SSLContext, "load_verify_locations", lambda context, file: files.append(file))
    for module, expected in ((None, []), (certifi, ["certificates.pem"])):
        monkeypatch.setitem(sys.modules, "certifi", module)
        download._trust()
        assert files == expected


@pytest.mark.parametrize("name", ["../../stolen.txt", "stolen.txt", "/stolen.txt", "..\\stolen.txt", "neighbour.txt"])
def test_the_server_has_no_say_in_the_name(server, cache, name):
    server.answer = lambda handler: good(handler, headers=[
        ("Content-Disposition", f'attachment; filename="{name}"'), ("Content-Location", name)])
    before = listing(cache)
    ptb.find_file("train")
    assert listing(cache) == before | {"around/cache": None, "around/cache/ptb.train.txt": GOOD}


@pytest.mark.parametrize("damaged", [b"", GOOD[:-1], GOOD + b"\n", GOOD.replace(b"dog", b"cat")], ids=[
    "empty", "cut", "longer", "changed"])
def test_a_damaged_file_in_the_cache_is_downloaded_anew(server, cache, damaged):
    cache.mkdir()
    (cache / "ptb.train.txt").write_bytes(damaged)
    assert len(ptb.load_data("train")[0]) == 12
    assert (cache / "ptb.train.txt").read_bytes() == GOOD and server.paths == ["/ptb.train.txt"]


def test_a_damaged_file_is_not_used_where_no_other_can_be_had(server, cache):
    cache.mkdir()
    (cache / "ptb.train.txt").write_bytes(GOOD[:-1])
    before = listing(cache)
    server.answer = answers(b"", status=404)
    assert "status 404" in refused()
    with pytest.raises(InputError, match="status 404"):
        ptb.load_vocab()
    assert listing(cache) == before


def test_two_processes_download_at_once(server, cache):
    both = threading.Barrier(2)

    def answer(handler):
        both.wait(60)
        good(handler)

    server.answer = answer
    before = listing(cache)
    script = (f"from pathlib import Path; from dataset import ptb; ptb.URL = {server.url!r}; ptb.SHA256 = {SHA256!r}; "
              f"ptb.SIZES = {SIZES!r}; ptb.cache_folder = lambda: Path({str(cache)!r}); print(ptb.find_file('train'))")
    children = [subprocess.Popen([sys.executable, "-c", script], cwd=Path(dataset.__file__).parents[1], text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    for child in children:
        out, error = child.communicate(timeout=120)
        assert (out, error) == (f"{cache / 'ptb.train.txt'}\n", "")
    assert listing(cache) == before | {"around/cache": None, "around/cache/ptb.train.txt": GOOD}


def test_two_threads_download_at_once(server, cache, monkeypatch):
    both = threading.Barrier(2)
    monkeypatch.setattr(os, "fsync", lambda file: both.wait(60))  # both have written, none has the final name
    before = listing(cache)
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda _: ptb.find_file("train"), range(2)))
    assert found == [cache / "ptb.train.txt"] * 2
    assert listing(cache) == before | {"around/cache": None, "around/cache/ptb.train.txt": GOOD}


def test_a_full_disk_leaves_nothing(server, cache, monkeypatch):
    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    before = listing(cache)
    assert "ptb.train.txt: No space left on device" in refused()
    assert listing(cache) == before | {"around/cache": None}


def test_a_download_that_is_broken_off_leaves_nothing(server, cache, monkeypatch):
    def interrupt(file):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    before = listing(cache)
    with pytest.raises(KeyboardInterrupt):
        ptb.find_file("train")
    assert listing(cache) == before | {"around/cache": None}


@pytest.mark.parametrize("in_the_way", ["around/cache", "around/cache/ptb.train.txt/folder", "around"])
def test_a_cache_that_cannot_be_written(server, cache, tmp_path, in_the_way):
    if in_the_way == "around":
        (tmp_path / "around/neighbour.txt").unlink()
        (tmp_path / "around").rmdir()
    path = tmp_path / in_the_way
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a file in the way")
    before = listing(cache)
    assert f"cannot write {cache / 'ptb.train.txt'}: " in refused()
    assert listing(cache) == before


def test_no_server(server, cache, monkeypatch):
    with contextlib.closing(http.server.HTTPServer(("127.0.0.1", 0), None).socket) as socket:
        port = socket.getsockname()[1]
    monkeypatch.setattr(ptb, "URL", f"http://127.0.0.1:{port}/")
    before = listing(cache)
    assert "refused" in refused()
    assert listing(cache) == before


def test_a_proxy_is_asked_where_one_is_set(server, cache, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setattr(ptb, "URL", "http://texts.invalid/")
    assert ptb.find_file("train").read_bytes() == GOOD
    assert server.paths == ["http://texts.invalid/ptb.train.txt"]


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "http://127.0.0.1:none", "nonsense://127.0.0.1", "http://["])
def test_a_proxy_that_is_none(server, cache, monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setattr(ptb, "URL", "http://texts.invalid/")
    before = listing(cache)
    assert "downloading http://texts.invalid/ptb.train.txt failed (" in refused()
    assert listing(cache) == before


def test_the_real_sizes_are_those_of_the_real_files(ptb_dir):
    for split, size in ptb.SIZES.items():
        path = ptb.find_file(split)
        assert path.stat().st_size == size and ptb._is_whole(path, ptb.SHA256[split])
