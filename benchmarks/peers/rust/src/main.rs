//! The peer in Rust: tokio-tungstenite and redis-rs.
//!
//!     tungstenite-peer PORT REDIS_PORT
//!
//! As in the server example of tokio-tungstenite, each client has a channel, and a task that reads
//! and one that writes. The bytes of a message are shared by all clients. Tokio has one thread: like
//! the others, the peer has one core.
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use futures_util::{SinkExt, StreamExt};
use redis::AsyncCommands;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{unbounded_channel, UnboundedSender};
use tokio::task::{spawn_local, LocalSet};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::Message;

type Clients = Rc<RefCell<HashMap<String, HashMap<usize, UnboundedSender<Message>>>>>;

struct Gateway {
    clients: Clients,
    sink: tokio::sync::Mutex<redis::aio::PubSubSink>,
    publisher: redis::aio::MultiplexedConnection,
}

async fn serve(gateway: Rc<Gateway>, stream: TcpStream, number: usize) {
    let mut path = String::new();
    let callback = |request: &Request, response: Response| {
        path = request.uri().path().to_owned();
        Ok(response)
    };
    let Ok(socket) = accept_hdr_async(stream, callback).await else {
        return;
    };
    let (mut write, mut read) = socket.split();
    let mut parts = path.splitn(3, '/').skip(1);
    let listens = parts.next() == Some("sub");
    let name = parts.next().unwrap_or("").to_owned();
    if listens {
        let (queue, mut queued) = unbounded_channel();
        let first = {
            let mut clients = gateway.clients.borrow_mut();
            let members = clients.entry(name.clone()).or_default();
            members.insert(number, queue);
            members.len() == 1
        };
        if first {
            let _ = gateway.sink.lock().await.subscribe(&name).await;
        }
        spawn_local(async move {
            while let Some(message) = queued.recv().await {
                if write.feed(message).await.is_err() {
                    return;
                }
                // What waits goes out in one piece.
                while let Ok(message) = queued.try_recv() {
                    if write.feed(message).await.is_err() {
                        return;
                    }
                }
                if write.flush().await.is_err() {
                    return;
                }
            }
        });
    }
    let mut publisher = gateway.publisher.clone();
    while let Some(Ok(message)) = read.next().await {
        if !listens && (message.is_text() || message.is_binary()) {
            let _: redis::RedisResult<()> = publisher.publish(&name, &message.into_data()[..]).await;
        }
    }
    if listens {
        let last = {
            let mut clients = gateway.clients.borrow_mut();
            let members = clients.get_mut(&name).unwrap();
            members.remove(&number);
            members.is_empty() && clients.remove(&name).is_some()
        };
        if last {
            let _ = gateway.sink.lock().await.unsubscribe(&name).await;
        }
    }
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let client = redis::Client::open(format!("redis://127.0.0.1:{}", arguments[2]))?;
    let (sink, mut stream) = client.get_async_pubsub().await?.split();
    let clients: Clients = Rc::default();
    let gateway = Rc::new(Gateway {
        clients: clients.clone(),
        sink: tokio::sync::Mutex::new(sink),
        publisher: client.get_multiplexed_async_connection().await?,
    });
    spawn_local(async move {
        while let Some(message) = stream.next().await {
            let text: String = message.get_payload().unwrap();
            if let Some(members) = clients.borrow().get(message.get_channel_name()) {
                let framed = Message::text(text);
                for queue in members.values() {
                    let _ = queue.send(framed.clone());
                }
            }
        }
    });
    let listener = TcpListener::bind(format!("127.0.0.1:{}", arguments[1])).await?;
    for number in 0.. {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        spawn_local(serve(gateway.clone(), stream, number));
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    LocalSet::new().run_until(run()).await
}
