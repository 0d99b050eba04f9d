// The peer on Node: ws and ioredis, as their READMEs show it.
//
//     node node_ws.js PORT REDIS_PORT [CERTIFICATE]
//
// One Redis connection subscribes for all clients, a second one publishes. Messages stay Buffers
// (messageBuffer), so that none is decoded only to be encoded again; bufferutil is installed beside
// ws, and publishing is auto-pipelined, as both READMEs advise for speed.
'use strict';

const fs = require('node:fs');
const https = require('node:https');

const Redis = require('ioredis');
const { WebSocket, WebSocketServer } = require('ws');

const [port, redisPort] = process.argv.slice(2).map(Number);
const subscriber = new Redis(redisPort, '127.0.0.1');
const publisher = new Redis(redisPort, '127.0.0.1', { enableAutoPipelining: true });
const channels = new Map(); // name -> Set of clients

subscriber.on('messageBuffer', (channel, message) => {
  const clients = channels.get(channel.toString());
  if (clients === undefined) return;
  for (const client of clients) {
    if (client.readyState === WebSocket.OPEN) client.send(message, { binary: false });
  }
});

const pem = process.argv[4] && fs.readFileSync(process.argv[4]);
const server = pem
  ? new WebSocketServer({ server: https.createServer({ key: pem, cert: pem }) })
  : new WebSocketServer({ host: '127.0.0.1', port, backlog: 4096 });
if (pem) server.options.server.listen({ host: '127.0.0.1', port, backlog: 4096 });

server.on('connection', (client, request) => {
  const [, kind, name] = request.url.split('/');
  client.on('error', () => {});
  if (kind === 'pub') {
    client.on('message', (data) => publisher.publish(name, data));
    return;
  }
  let clients = channels.get(name);
  if (clients === undefined) {
    clients = new Set();
    channels.set(name, clients);
    subscriber.subscribe(name);
  }
  clients.add(client);
  client.on('close', () => {
    clients.delete(client);
    if (clients.size === 0 && channels.get(name) === clients) {
      channels.delete(name);
      subscriber.unsubscribe(name);
    }
  });
});
