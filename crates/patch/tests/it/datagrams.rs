//! Datagrams: several who wait, and peers that are slow.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::rc::Rc;
use std::thread;

use greenlet_hub::{joinall, spawn};

use crate::calls::settle;
use crate::support::{MS, patched, timed};

struct Path(PathBuf);

impl Path {
    fn new(name: &str) -> Path {
        Path(std::env::temp_dir().join(format!("greenlet-patch-{}-{name}", std::process::id())))
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_sender_waits_for_a_peer_whose_queue_is_full_be_it_connected_or_not() {
    patched(|| {
        for connected in [true, false] {
            let path = Path::new("full");
            let receiver = UnixDatagram::bind(&path.0).unwrap();
            let sender = UnixDatagram::unbound().unwrap();
            if connected {
                sender.connect(&path.0).unwrap();
            }
            let to = path.0.clone();
            let sending = spawn(move || {
                for n in 0..2000_u32 {
                    let bytes = n.to_ne_bytes();
                    let sent = if connected { sender.send(&bytes) } else { sender.send_to(&bytes, &to) };
                    assert_eq!(sent.unwrap(), 4);
                }
            });
            settle();
            assert!(!sending.is_finished());
            for n in 0..2000_u32 {
                let mut buf = [0; 8];
                assert_eq!(receiver.recv(&mut buf).unwrap(), 4);
                assert_eq!(buf[..4], n.to_ne_bytes());
            }
            sending.join().unwrap();
        }
    });
}

#[test]
fn a_senders_time_out_is_honoured_where_pauses_are_made() {
    patched(|| {
        let path = Path::new("patience");
        let _receiver = UnixDatagram::bind(&path.0).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.set_write_timeout(Some(20 * MS)).unwrap();
        let (took, err) = timed(|| {
            loop {
                if let Err(err) = sender.send_to(b"x", &path.0) {
                    return err;
                }
            }
        });
        assert_eq!(err.kind(), std::io::ErrorKind::WouldBlock);
        assert!(took >= 20 * MS && took < 5000 * MS, "{took:?}");
    });
}

#[test]
fn two_hubs_and_a_thread_receive_from_one_socket_and_nothing_is_lost() {
    const EACH: u32 = 500;
    patched(|| {
        let socket = std::sync::Arc::new(std::net::UdpSocket::bind("127.0.0.1:0").unwrap());
        let addr = socket.local_addr().unwrap();
        let receive = |socket: &std::net::UdpSocket| {
            let mut sum = 0;
            for _ in 0..EACH {
                let mut buf = [0; 4];
                assert_eq!(socket.recv_from(&mut buf).unwrap().0, 4);
                sum += u64::from(u32::from_ne_bytes(buf));
            }
            sum
        };
        let plain = {
            let socket = std::sync::Arc::clone(&socket);
            thread::spawn(move || receive(&socket))
        };
        let hubs = [0, 1].map(|_| {
            let socket = std::sync::Arc::clone(&socket);
            thread::spawn(move || {
                let socket = Rc::new(socket);
                let all = joinall((0..3).map(|_| {
                    let socket = Rc::clone(&socket);
                    spawn(move || receive(&socket))
                }));
                all.into_iter().map(|sum| sum.unwrap()).sum::<u64>()
            })
        });
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let total = 7 * EACH;
        for n in 0..total {
            sender.send_to(&n.to_ne_bytes(), addr).unwrap();
            if n % 50 == 49 {
                // No more at once than the socket has room for.
                while crate::calls::queued(&*socket) > 0 {
                    thread::sleep(MS / 4);
                }
            }
        }
        let sum = hubs.into_iter().map(|hub| hub.join().unwrap()).sum::<u64>() + plain.join().unwrap();
        assert_eq!(sum, (0..u64::from(total)).sum::<u64>());
    });
}
