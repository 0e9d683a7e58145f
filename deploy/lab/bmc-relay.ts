// SPDX-License-Identifier: Apache-2.0
// usage: bmc-relay.js ADDRESS PORT TO_PORT — passes datagrams on to another port of the same address, and loses half of
// those that come in: so many, and then so many not. Strictly every other one would be as good as all: ipmitool begins a
// session anew when the second message of its handshake is lost, and would lose the second one again.
import { createSocket } from 'node:dgram';

const [address = '', port = '', toPort = ''] = process.argv.slice(2);
const front = createSocket('udp4');
const callers = new Map<string, ReturnType<typeof createSocket>>();
/** Somewhat more than a session needs from its beginning to its end. */
const RUN = 10;
let received = 0;

function isLost(): boolean {
  received += 1;
  return received % (2 * RUN) > RUN;
}

front.on('message', (datagram, caller) => {
  if (isLost()) return;
  const key = `${caller.address}:${caller.port}`;
  let back = callers.get(key);
  if (back === undefined) {
    back = createSocket('udp4');
    back.on('message', (answer) => {
      front.send(answer, caller.port, caller.address);
    });
    // Bounded: a caller is one short-lived process, and comes back under another port.
    for (const [old, socket] of callers) {
      if (callers.size < 64) break;
      socket.close();
      callers.delete(old);
    }
    callers.set(key, back);
  }
  back.send(datagram, Number(toPort), address);
});
front.bind(Number(port), address);
