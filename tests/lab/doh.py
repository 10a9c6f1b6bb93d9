"""A DNS over HTTPS server in a process of its own, by the protocols named: h2, http/1.1.

usage: doh.py FOLDER ADDRESS NAME PROTOCOL...

Serves https://NAME/dns-query at ADDRESS:443 with a certificate of its own CA, which goes to FOLDER/ca.pem; prints
"ready", then a line for each connection and for each question.
"""
import asyncio
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "fixtures"))
import certs    # noqa: E402
import h2io     # noqa: E402
import http1    # noqa: E402

from nameserver import question   # noqa: E402

TYPE = "application/dns-message"


def answer(data):
    name, _, asked = question(data)
    print(f"question {name}", flush=True)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + bytes([192, 0, 2, 99])
    return data[:2] + struct.pack("!5H", 0x8180, 1, 1, 0, 0) + asked + record


async def serve_h2(reader, writer):
    async def handle(stream):
        await stream.answer(200, answer(stream.body), TYPE)
    server = h2io.Server(writer.write, writer.drain, handle)
    server.start()
    while data := await reader.read(65536):
        server.feed(data)
    await server.stop()


async def serve_http1(reader, writer):
    while (request := await http1.read_request(reader)) is not None:
        writer.write(http1.response(200, answer(request.body), {"Content-Type": TYPE}))


async def serve(reader, writer):
    protocol = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    print(f"connection {protocol}", flush=True)
    try:
        await (serve_h2 if protocol == "h2" else serve_http1)(reader, writer)
    except ConnectionError:
        pass
    writer.close()


async def main(folder, address, name, *protocols):
    ca = certs.make_ca()
    certs.write_pem(os.path.join(folder, "ca.pem"), ca[0])
    context = certs.server_context(folder, "doh", *certs.make_leaf([name], ca))
    context.set_alpn_protocols(protocols)
    server = await asyncio.start_server(serve, address, 443, ssl=context)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
