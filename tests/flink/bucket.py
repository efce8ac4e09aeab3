"""Google Cloud Storage on this machine: fake-gcs-server, which Beam's and TensorFlow's own clients talk to.

The emulator of the other tests is easier to install, but does not take TensorFlow's uploads.
"""

from __future__ import annotations

import asyncio
import json
import pathlib
import ssl
import subprocess
import threading
import time
import urllib.request

from aiohttp import ClientSession, web
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from yarl import URL

SERVER = pathlib.Path(__file__).parents[2] / ".cache" / "flink" / "fake-gcs-server"
_NAME = "segpipe"
# What TensorFlow calls, whatever is set; Beam's client calls the host in STORAGE_EMULATOR_HOST.
_HOSTS = ("storage.googleapis.com", "www.googleapis.com", "oauth2.googleapis.com")


class Bucket:
    """The bucket `gs://segpipe`. Starts with `start`, ends with `stop`.

    Args:
      folder: for a certificate and logs.
      host: address to listen at, which all workers reach.
    """

    def __init__(self, folder: pathlib.Path, host: str):
        self._folder, self._host = folder, host
        self._certificate, self._key = folder / "certificate.pem", folder / "key.pem"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: subprocess.Popen[bytes] | None = None
        self._connections: set[asyncio.Task[None]] = set()  # asyncio itself keeps no reference to its tasks.

    @property
    def environment(self) -> dict[str, str]:
        """What leads clients here, TensorFlow's through a proxy, and gives them a token as Google's own machines do."""
        return {
            "STORAGE_EMULATOR_HOST": f"http://{self._host}:9004",
            "GCE_METADATA_HOST": f"{self._host}:9002",
            "GCE_METADATA_IP": f"{self._host}:9002",
            "https_proxy": f"http://{self._host}:9002",
            "no_proxy": f"localhost,127.0.0.1,{self._host}",
            "CURL_CA_BUNDLE": str(self._certificate),
        }

    def start(self) -> None:
        """Starts the server and the proxy, and waits until they answer."""
        names = ",".join(f"DNS:{host}" for host in _HOSTS)
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=segpipe"]
        files = ["-keyout", str(self._key), "-out", str(self._certificate)]
        subprocess.run([*command, *files, "-addext", f"subjectAltName={names}"], check=True, capture_output=True)
        (self._folder / "buckets" / _NAME).mkdir(parents=True)
        with open(self._folder / "bucket.log", "ab") as log:
            self._server = subprocess.Popen(
                [
                    *(str(SERVER), "-backend", "memory", "-data", str(self._folder / "buckets")),
                    *("-scheme", "both", "-host", self._host, "-port", "9000", "-port-http", "9001"),
                    *("-cert-location", str(self._certificate), "-private-key-location", str(self._key)),
                    # The address that objects name as theirs.
                    *("-external-url", f"http://{self._host}:9004"),
                    *("-public-host", _HOSTS[0], "-log-level", "warn"),
                ],
                stdout=log,
                stderr=log,
            )
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://{self._host}:9001/storage/v1/b/{_NAME}").close()
                return
            except OSError:
                assert self._server.poll() is None, (self._folder / "bucket.log").read_text()
                time.sleep(0.05)
        raise AssertionError("the bucket does not answer")

    def stop(self) -> None:
        """Ends the server and the proxy."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def download(self, prefix: str, folder: pathlib.Path) -> None:
        """Copies all objects with a prefix to a folder."""
        options = {"api_endpoint": f"http://{self._host}:9001"}
        client = storage.Client(_NAME, AnonymousCredentials(), client_options=options)
        for blob in client.bucket(_NAME).list_blobs(prefix=prefix):
            path = folder / blob.name
            if blob.name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                blob.download_to_filename(str(path))

    async def _listen(self) -> None:
        secured = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        secured.load_cert_chain(self._certificate, self._key)
        await asyncio.start_server(self._forward, self._host, 9003, ssl=secured)
        await asyncio.start_server(self._answer, self._host, 9002)
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._hand_on)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, self._host, 9004).start()

    async def _hand_on(self, request: web.Request) -> web.Response:
        """Forwards to the server, adding to each part of a batch what this server wants and Google does not."""
        body = (await request.read()).replace(
            b"Content-Type: application/http", b"Content-ID: <any>\r\nContent-Type: application/http"
        )
        headers = {name: value for name, value in request.headers.items() if name not in ("Host", "Content-Length")}
        url = URL(f"http://{self._host}:9001{request.raw_path}", encoded=True)
        session = ClientSession(auto_decompress=False)
        async with session, session.request(request.method, url, headers=headers, data=body) as answer:
            kept = {name: value for name, value in answer.headers.items() if name != "Transfer-Encoding"}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Acts as a proxy for HTTPS, and as Google's metadata server, with a token for everybody."""
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"CONNECT "):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            self._join(reader, writer, *await asyncio.open_connection(self._host, 9003))
            return
        account = {"email": "default", "scopes": ["https://www.googleapis.com/auth/cloud-platform"]}
        kind, body = "json", json.dumps({**account, "access_token": "any", "expires_in": 3600, "token_type": "Bearer"})
        if b"/universe/" in head:
            kind, body = "text", "googleapis.com"
        lines = ["HTTP/1.1 200 OK", "Metadata-Flavor: Google", f"Content-Type: application/{kind}", "Connection: close"]
        writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "", body]).encode())
        writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        trusted = ssl.create_default_context(cafile=str(self._certificate))
        there = await asyncio.open_connection(self._host, 9000, ssl=trusted, server_hostname=_HOSTS[0])
        self._join(reader, writer, *there)

    def _join(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        other_reader: asyncio.StreamReader,
        other_writer: asyncio.StreamWriter,
    ) -> None:
        for pump in (_pump(reader, other_writer), _pump(other_reader, writer)):
            task = asyncio.create_task(pump)
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            # TensorFlow's header, which no standard has any more, and which Go's HTTP server refuses.
            writer.write(data.replace(b"\r\nTransfer-Encoding: identity", b""))
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
