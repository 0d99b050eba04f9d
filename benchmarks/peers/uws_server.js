// The peer on uWebSockets.js: its own topics, and ioredis.
//
//     node uws_server.js PORT REDIS_PORT [CERTIFICATE]
//
// Clients subscribe to a topic, and publish() sends to all of them: its documentation names that as
// the fastest way. A topic sends what one turn of the event loop brings in one piece. One Redis
// connection subscribes for all clients, a second one publishes with auto-pipelining.
'use strict';

const Redis = require('ioredis');
const uws = require('uwebsockets');

const [port, redisPort] = process.argv.slice(2, 4).map(Number);
const certificate = process.argv[4];
const subscriber = new Redis(redisPort, '127.0.0.1');
const publisher = new Redis(redisPort, '127.0.0.1', { enableAutoPipelining: true });
const counts = new Map(); // name -> number of clients

const app = certificate
  ? uws.SSLApp({ key_file_name: certificate, cert_file_name: certificate })
  : uws.App();

subscriber.on('messageBuffer', (channel, message) => {
  app.publish(channel.toString(), message, false);
});

app.ws('/:kind/:name', {
  idleTimeout: 300,
  maxPayloadLength: 1 << 20,
  maxBackpressure: 0, // without a limit, as with the other peers
  upgrade: (response, request, context) => {
    response.upgrade(
      { kind: request.getParameter(0), name: request.getParameter(1) },
      request.getHeader('sec-websocket-key'),
      request.getHeader('sec-websocket-protocol'),
      request.getHeader('sec-websocket-extensions'),
      context,
    );
  },
  open: (client) => {
    const { kind, name } = client.getUserData();
    if (kind === 'pub') return;
    client.subscribe(name);
    const count = counts.get(name) || 0;
    counts.set(name, count + 1);
    if (count === 0) subscriber.subscribe(name);
  },
  message: (client, message) => {
    const { kind, name } = client.getUserData();
    // The bytes are valid only during this call.
    if (kind === 'pub') publisher.publish(name, Buffer.from(message.slice(0)));
  },
  close: (client) => {
    const { kind, name } = client.getUserData();
    if (kind === 'pub') return;
    const count = counts.get(name) - 1;
    counts.set(name, count);
    if (count === 0) {
      counts.delete(name);
      subscriber.unsubscribe(name);
    }
  },
});

app.listen('127.0.0.1', port, (token) => {
  if (!token) process.exit(1);
});
