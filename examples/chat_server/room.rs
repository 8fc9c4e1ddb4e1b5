//! The room: who is in it, and what each of them has still to be sent. One who does not read stops nobody.

use std::collections::{HashMap, VecDeque};
use std::{cell::RefCell, io::Write, rc::Rc};

use greenlet::net::{Shutdown, SocketAddr, TcpStream};
use greenlet::spawn;

/// Whoever is so many lines behind is shown out.
const OUTBOX: usize = 1000;

#[derive(Clone, Default)]
pub(crate) struct Room(Rc<RefCell<HashMap<SocketAddr, Rc<Member>>>>);

pub(crate) struct Member {
    pub(crate) stream: TcpStream,
    /// As long as there is anything in it, a greenlet is writing it.
    outbox: RefCell<VecDeque<Rc<str>>>,
}

impl Room {
    pub(crate) fn enter(&self, peer: SocketAddr, stream: TcpStream) -> Rc<Member> {
        let member = Rc::new(Member { stream, outbox: RefCell::default() });
        self.0.borrow_mut().insert(peer, Rc::clone(&member));
        member
    }

    pub(crate) fn leave(&self, peer: SocketAddr) {
        self.0.borrow_mut().remove(&peer);
    }

    /// Puts the line into all outboxes. Nothing in here switches, so the room may be borrowed meanwhile.
    pub(crate) fn tell_everybody(&self, line: &str) {
        let line: Rc<str> = line.into();
        for member in self.0.borrow().values() {
            let mut outbox = member.outbox.borrow_mut();
            if outbox.is_empty() {
                let member = Rc::clone(member);
                spawn(move || member.write_outbox());
            }
            if outbox.len() < OUTBOX {
                outbox.push_back(Rc::clone(&line));
            } else {
                // Ends its writes with an error and its reads with the end of the stream: so it leaves.
                let _ = member.stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Member {
    /// Writes may wait, so nothing is borrowed meanwhile: the line is cloned, and taken out when it is written.
    fn write_outbox(&self) {
        loop {
            let Some(line) = self.outbox.borrow().front().cloned() else { return };
            let _ = (&self.stream).write_all(line.as_bytes()); // after an error the reads end, too
            self.outbox.borrow_mut().pop_front();
        }
    }
}
