//! `tungstenite`: WebSocket in Rust, on any stream that blocks.

use std::io;

use tungstenite::{Message, accept, connect};

use crate::at_once::{CONCURRENT, at_once};
use crate::gate::Gate;
use crate::local;

#[test]
fn conversations_of_tungstenite_overlap() {
    let gate = Gate::new();
    let server = {
        let gate = gate.clone();
        local::serve(move |stream| {
            let mut socket = accept(stream).map_err(|err| io::Error::other(err.to_string()))?;
            // To the close, which comes as an error.
            loop {
                let message = socket.read().map_err(io::Error::other)?;
                if message.is_text() {
                    gate.pass();
                    socket.send(message).map_err(io::Error::other)?;
                }
            }
        })
    };
    let answers = at_once(move |number| {
        let (mut socket, _) = connect(format!("ws://{server}/")).unwrap();
        socket.send(Message::text(format!("message {number}"))).unwrap();
        let answer = socket.read().unwrap().into_text().unwrap().to_string();
        socket.close(None).unwrap();
        socket.flush().unwrap();
        answer
    });
    assert_eq!(answers, (0..CONCURRENT).map(|number| format!("message {number}")).collect::<Vec<_>>());
    assert_eq!(gate.peak(), CONCURRENT, "conversations at once, in the server's count");
}
