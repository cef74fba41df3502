// A station made of ocpp-rpc (npm), driven over standard input, which checks our answers by the schemas of 1.6 and 2.0.1.
//
//     node station.js ocpp1.6 ws://127.0.0.1:9000/ocpp CP-1 [password in hexadecimal]
//
// It prints one JSON line for all that happens, and obeys `boot`, `heartbeat`, `status`, `unknown`, `ping` and `close`.

const readline = require("node:readline");
const { RPCClient } = require("ocpp-rpc");

const [version, endpoint, identity, password] = process.argv.slice(2);
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
const now = "2026-01-01T00:00:00Z";

const calls =
  version === "ocpp1.6"
    ? {
        boot: ["BootNotification", { chargePointModel: "M", chargePointVendor: "V" }],
        heartbeat: ["Heartbeat", {}],
        status: ["StatusNotification", { connectorId: 1, errorCode: "NoError", status: "Available" }],
        unknown: ["Authorize", { idTag: "tag" }],
      }
    : {
        boot: ["BootNotification", { chargingStation: { model: "M", vendorName: "V" }, reason: "PowerUp" }],
        heartbeat: ["Heartbeat", {}],
        status: ["StatusNotification", { timestamp: now, connectorStatus: "Available", evseId: 1, connectorId: 1 }],
        unknown: ["Authorize", { idToken: { idToken: "tag", type: "Central" } }],
      };

async function main() {
  const station = new RPCClient({
    endpoint,
    identity,
    password: password === undefined ? undefined : Buffer.from(password, "hex"),
    protocols: [version],
    strictMode: version !== "ocpp2.1", // 2.2.1 has no schemas of 2.1
    reconnect: false,
    pingIntervalMs: 0,
  });
  station.on("strictValidationFailure", ({ error }) => say({ invalid: String(error) }));
  station.on("ping", ({ rtt }) => say({ ponged: true, rtt }));
  station.on("close", ({ code, reason }) => {
    say({ closed: code, reason });
    process.exit(0);
  });
  await station.connect();
  say({ connected: station.protocol });
  for await (const order of readline.createInterface({ input: process.stdin })) {
    if (order === "close") {
      await station.close({ code: 1000, reason: "going home" });
    } else if (order === "ping") {
      station.reconfigure({ pingIntervalMs: 50 });
    } else {
      try {
        const answer = await station.call(...calls[order]);
        say({ answer: order, status: answer.status ?? null, time: answer.currentTime ?? null });
      } catch (error) {
        say({ answer: order, error: error.rpcErrorCode ?? String(error) });
      }
    }
  }
}

main().catch((error) => {
  say({ failed: error.code ?? String(error) });
  process.exit(1);
});
