//! Many greenlets, messages and descriptors at once.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use greenlet_hub::{Io, JoinHandle, Kind, Reason, WaitList, joinall, sleep, spawn, yield_now};

fn write_all(io: &Io<UnixStream>, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let written = io.write_some_with(bytes.len(), None, |mut stream| stream.write(bytes))?;
        bytes = &bytes[written..];
    }
    Ok(())
}

fn read_exact(io: &Io<UnixStream>, mut bytes: &mut [u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let read = io.read_some_with(bytes.len(), None, |mut stream| stream.read(bytes))?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[read..];
    }
    Ok(())
}

const GREENLETS: u64 = 1000;
const MESSAGES: u64 = 100;

#[test]
fn a_thousand_greenlets_talk_to_a_thousand_of_another_hub() {
    let (send, receive) = mpsc::channel::<Vec<UnixStream>>();
    let echoes = thread::spawn(move || {
        let echo = |stream| {
            let io = Io::new(stream, Kind::Stream).unwrap();
            spawn(move || {
                let mut message = [0; 16];
                for _ in 0..MESSAGES {
                    read_exact(&io, &mut message)?;
                    write_all(&io, &message)?;
                }
                // Then the other side has closed.
                io.read_some_with(1, None, |mut stream| stream.read(&mut message))
            })
        };
        let greenlets: Vec<JoinHandle<std::io::Result<usize>>> =
            receive.recv().unwrap().into_iter().map(echo).collect();
        joinall(greenlets).into_iter().for_each(|last| assert_eq!(last.unwrap().unwrap(), 0));
    });
    let (near, far): (Vec<_>, Vec<_>) = (0..GREENLETS).map(|_| UnixStream::pair().unwrap()).unzip();
    send.send(far).unwrap();
    let talk = |(number, stream)| {
        let io = Io::new(stream, Kind::Stream).unwrap();
        spawn(move || {
            for round in 0..MESSAGES {
                let message = [number as u64, round].map(u64::to_ne_bytes).concat();
                write_all(&io, &message)?;
                let mut answer = [0; 16];
                read_exact(&io, &mut answer)?;
                assert_eq!(answer[..], message);
            }
            std::io::Result::Ok(())
        })
    };
    joinall(near.into_iter().enumerate().map(talk)).into_iter().for_each(|ended| ended.unwrap().unwrap());
    echoes.join().unwrap();
}

#[test]
fn large_transfers_go_through_small_buffers_both_ways_at_once() {
    let (near, far) = UnixStream::pair().unwrap();
    let data: Arc<Vec<u8>> = Arc::new((0..3_000_000_u32).map(|i| ((i * 7) >> 3) as u8).collect());
    // Of each end one greenlet reads and one writes.
    let both_ways = |stream, data: Arc<Vec<u8>>| {
        let io = Rc::new(Io::new(stream, Kind::Stream).unwrap());
        let writer = spawn({
            let (io, data) = (Rc::clone(&io), Arc::clone(&data));
            move || write_all(&io, &data).unwrap()
        });
        let mut read = vec![0; data.len()];
        read_exact(&io, &mut read).unwrap();
        writer.join().unwrap();
        read == *data
    };
    let other = thread::spawn({
        let data = Arc::clone(&data);
        move || both_ways(far, data)
    });
    assert!(both_ways(near, data));
    assert!(other.join().unwrap());
}

#[test]
fn a_hundred_thousand_greenlets_come_and_go() {
    let chain = |_| spawn(|| spawn(yield_now).join().unwrap());
    for _ in 0..10 {
        joinall((0..5_000).map(chain)).into_iter().for_each(Result::unwrap);
    }
}

#[test]
fn everything_at_once_on_three_hubs_ends() {
    let list = Arc::new(WaitList::new());
    let handles: Arc<Mutex<Vec<JoinHandle<u32>>>> = Arc::default();
    let live = |seed: u32| {
        let (list, handles) = (Arc::clone(&list), Arc::clone(&handles));
        move || {
            let mut own = Vec::new();
            for number in 0..2_000_u32 {
                let list = Arc::clone(&list);
                let what = number.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 28;
                let greenlet = spawn(move || {
                    match what {
                        0..4 => yield_now(),
                        4..8 => sleep(Duration::from_micros(u64::from(number % 500))),
                        8..12 => drop(list.notify_one()),
                        _ => {
                            let deadline = Instant::now() + Duration::from_micros(u64::from(number % 3000));
                            list.wait(Reason::new("anybody"), Some(deadline), || false);
                        }
                    }
                    number
                });
                match number % 4 {
                    0 => own.push((number, greenlet)),
                    1 => handles.lock().unwrap().push(greenlet),
                    2 => drop(greenlet),
                    _ => {
                        let other = handles.lock().unwrap().pop();
                        if let Some(other) = other {
                            // Of whichever hub, perhaps one that has ended.
                            drop(other.join_timeout(Duration::from_micros(500)));
                        }
                        assert_eq!(greenlet.join().unwrap(), number);
                    }
                }
            }
            for (number, greenlet) in own {
                assert_eq!(greenlet.join().unwrap(), number);
            }
        }
    };
    let threads: Vec<_> = (0..3).map(|seed| thread::spawn(live(seed))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    for handle in handles.lock().unwrap().drain(..) {
        // Those that had not come to their end when their hub did.
        drop(handle.join());
    }
}
