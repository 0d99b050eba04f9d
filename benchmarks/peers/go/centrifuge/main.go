// The peer of the Go library centrifuge, after its example for Redis.
//
//	centrifuge PORT REDIS_PORT
//
// Clients speak its JSON protocol and subscribe by a command. What goes through Redis is in its own
// format, so only its clients can publish. GOMAXPROCS is 1: like the others, the peer has one core.
package main

import (
	"context"
	"log"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/centrifugal/centrifuge"
)

func main() {
	runtime.GOMAXPROCS(1)
	node, err := centrifuge.New(centrifuge.Config{ClientQueueMaxSize: 16 << 20})
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{Credentials: &centrifuge.Credentials{}}, nil
	})
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(e centrifuge.SubscribeEvent, callback centrifuge.SubscribeCallback) {
			callback(centrifuge.SubscribeReply{}, nil)
		})
		client.OnPublish(func(e centrifuge.PublishEvent, callback centrifuge.PublishCallback) {
			callback(centrifuge.PublishReply{}, nil)
		})
	})
	shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{
		Address: "127.0.0.1:" + os.Args[2],
	})
	if err != nil {
		log.Fatal(err)
	}
	broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{
		Shards: []*centrifuge.RedisShard{shard},
	})
	if err != nil {
		log.Fatal(err)
	}
	node.SetBroker(broker)
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	handler := centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		PingPongConfig:     centrifuge.PingPongConfig{PingInterval: 5 * time.Minute},
		UseWriteBufferPool: true,
		MessageSizeLimit:   1 << 20,
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], handler))
}
