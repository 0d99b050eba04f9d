// The peer in Go: gorilla/websocket and go-redis.
//
//	gorilla PORT REDIS_PORT [CERTIFICATE]
//
// As in the chat example of gorilla/websocket, each client has a queue and a goroutine that writes.
// A message is a PreparedMessage, framed once for all clients, and the buffers for writing come from
// a pool, as its documentation advises for many idle connections. One Redis connection subscribes
// for all clients. GOMAXPROCS is 1: like the others, the peer has one core.
package main

import (
	"context"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
	"github.com/redis/go-redis/v9"
)

type client struct {
	conn  *websocket.Conn
	queue chan *websocket.PreparedMessage
}

var (
	lock     sync.RWMutex
	channels = map[string]map[*client]bool{}
	upgrader = websocket.Upgrader{WriteBufferPool: &sync.Pool{}}
	database *redis.Client
	pubsub   *redis.PubSub
)

func deliver() {
	for message := range pubsub.Channel(redis.WithChannelSize(1000)) {
		prepared, err := websocket.NewPreparedMessage(websocket.TextMessage, []byte(message.Payload))
		if err != nil {
			log.Fatal(err)
		}
		lock.RLock()
		for each := range channels[message.Channel] {
			each.queue <- prepared
		}
		lock.RUnlock()
	}
}

func (c *client) write() {
	for message := range c.queue {
		if c.conn.WritePreparedMessage(message) != nil {
			c.conn.Close() // and the reader ends
		}
	}
}

func join(name string, c *client) {
	lock.Lock()
	defer lock.Unlock()
	if channels[name] == nil {
		channels[name] = map[*client]bool{}
		if err := pubsub.Subscribe(context.Background(), name); err != nil {
			log.Print(err)
		}
	}
	channels[name][c] = true
}

func leave(name string, c *client) {
	lock.Lock()
	defer lock.Unlock()
	delete(channels[name], c)
	close(c.queue)
	if len(channels[name]) == 0 {
		delete(channels, name)
		_ = pubsub.Unsubscribe(context.Background(), name)
	}
}

func serve(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	parts := strings.Split(r.URL.Path, "/")
	kind, name := parts[1], parts[2]
	if kind == "sub" {
		c := &client{conn, make(chan *websocket.PreparedMessage, 256)}
		join(name, c)
		defer leave(name, c)
		go c.write()
	}
	for {
		_, message, err := conn.ReadMessage()
		if err != nil {
			return
		}
		if kind == "pub" {
			if err := database.Publish(r.Context(), name, message).Err(); err != nil {
				log.Fatal(err)
			}
		}
	}
}

func main() {
	runtime.GOMAXPROCS(1)
	database = redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + os.Args[2], PoolSize: 64})
	pubsub = database.Subscribe(context.Background())
	go deliver()
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	handler := http.HandlerFunc(serve)
	if len(os.Args) > 3 {
		log.Fatal(http.ServeTLS(listener, handler, os.Args[3], os.Args[3]))
	}
	log.Fatal(http.Serve(listener, handler))
}
