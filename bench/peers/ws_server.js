// npm `ws` as its documentation shows it: a server of its own HTTP server's upgrades, Basic credentials compared in
// constant time before the handshake, and the heartbeat of its README with one timer for all.
// It prints its port, and ends when its standard input does.
"use strict";

const { createServer } = require("node:http");
const { timingSafeEqual } = require("node:crypto");
const { WebSocketServer } = require("ws");

const key = Buffer.from(process.argv[2]);
const interval = Number(process.argv[3] ?? 20) * 1000;
const server = createServer();
const stations = new WebSocketServer({
  noServer: true,
  handleProtocols: (offered) => (offered.has("ocpp1.6") ? "ocpp1.6" : false),
});

function isWho(request) {
  const station = decodeURIComponent(request.url.slice("/ocpp/".length));
  const shown = Buffer.from((request.headers.authorization ?? "").slice("Basic ".length), "base64");
  const expected = Buffer.concat([Buffer.from(`${station}:`), key]);
  return shown.length === expected.length && timingSafeEqual(shown, expected);
}

server.on("upgrade", (request, socket, head) => {
  if (!isWho(request)) {
    socket.end("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n");
    return;
  }
  stations.handleUpgrade(request, socket, head, (station) => {
    station.isAlive = true;
    station.on("error", () => {});
    station.on("pong", () => (station.isAlive = true));
    station.on("message", (message) => station.send(message));
  });
});

setInterval(() => {
  for (const station of stations.clients) {
    if (!station.isAlive) {
      station.terminate();
      continue;
    }
    station.isAlive = false;
    station.ping();
  }
}, interval);

server.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => console.log(server.address().port));
process.stdin.on("end", () => process.exit()).resume();
