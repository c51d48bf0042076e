//! A listener that nobody may ever reach.

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::visitor::until;

pub struct Canary {
    pub port: u16,
    touched: Arc<AtomicU64>,
}

impl Canary {
    pub fn start() -> Canary {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let canary = Canary {
            port: listener.local_addr().unwrap().port(),
            touched: Arc::default(),
        };
        let touched = Arc::clone(&canary.touched);
        std::thread::spawn(move || {
            for _ in listener.incoming().flatten() {
                touched.fetch_add(1, Ordering::SeqCst);
            }
        });
        canary
    }

    pub fn link(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Fails if anybody was here. Connections are taken in the order they came: once our own is counted, so are all before it.
    #[track_caller]
    pub fn was_left_alone(&self) {
        let before = self.touched.load(Ordering::SeqCst);
        let _own = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        until("our own connection is counted", || {
            self.touched.load(Ordering::SeqCst) > before
        });
        let others = self.touched.swap(0, Ordering::SeqCst) - 1;
        assert_eq!(others, 0, "somebody connected to the canary");
    }
}
