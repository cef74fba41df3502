// npm `ocpp-rpc` as its documentation shows it: Basic credentials checked in `auth`, its own pings.
// It prints its port, and ends when its standard input does.
"use strict";

const { timingSafeEqual } = require("node:crypto");
const { RPCServer } = require("ocpp-rpc");

const key = Buffer.from(process.argv[2]);
const server = new RPCServer({ protocols: ["ocpp1.6"], pingIntervalMs: Number(process.argv[3] ?? 30) * 1000 });

server.auth((accept, reject, handshake) => {
  const shown = handshake.password ?? Buffer.alloc(0);
  if (shown.length !== key.length || !timingSafeEqual(shown, key)) {
    reject(401);
    return;
  }
  accept({ station: handshake.identity });
});

server.on("client", (client) => {
  client.handle("Heartbeat", () => ({ currentTime: new Date().toISOString() }));
});

server.listen(0, "127.0.0.1").then((http) => console.log(http.address().port));
process.stdin.on("end", () => process.exit()).resume();
