//! The demo: listens on ports of its own, and compares what the scan finds with the kernel's table of listeners.

use std::collections::BTreeSet;
use std::{error::Error, fs, io, time::Duration};

use greenlet::net::{IpAddr, TcpListener};

use crate::scan::open_ports;

pub(crate) fn run(host: IpAddr, timeout: Duration) -> Result<(), Box<dyn Error>> {
    let own = (0..5).map(|_| TcpListener::bind((host, 0))).collect::<io::Result<Vec<_>>>()?;
    let before = listening(host);
    let found: BTreeSet<u16> = open_ports(host, timeout)?.into_iter().collect();
    let after = listening(host);
    for listener in &own {
        let port = listener.local_addr()?.port();
        if !found.contains(&port) {
            return Err(format!("port {port} is open, and was not found").into());
        }
    }
    // Without such a table there is only what we know ourselves. Other programs may come and go meanwhile.
    if let (Some(before), Some(after)) = (before, after) {
        if let Some(missed) = before.intersection(&after).find(|port| !found.contains(port)) {
            return Err(format!("somebody listens on port {missed}, and it was not found").into());
        }
        if let Some(ghost) = found.iter().find(|port| !before.contains(port) && !after.contains(port)) {
            return Err(format!("port {ghost} was found, and nobody listens there").into());
        }
    }
    println!(
        "of the 65535 ports of {host} {} are open, {} of them our own; no other was found",
        found.len(),
        own.len()
    );
    Ok(())
}

/// The ports on which somebody listens at this IPv4 address, or at all addresses; none where there is no such table.
fn listening(host: IpAddr) -> Option<BTreeSet<u16>> {
    let IpAddr::V4(host) = host else { return None };
    // The table has addresses as the machine has them in memory.
    let host = format!("{:08X}", u32::from_ne_bytes(host.octets()));
    let mut ports = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        for line in fs::read_to_string(table).ok()?.lines().skip(1) {
            // `0: 0100007F:1F90 00000000:0000 0A …`: the own end, the other end, the state, of which 0A is listening.
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, own_end, _, "0A", ..] = fields[..] else { continue };
            let Some((ip, port)) = own_end.split_once(':') else { continue };
            if ip.ends_with(&host) || ip.bytes().all(|digit| digit == b'0') {
                ports.insert(u16::from_str_radix(port, 16).ok()?);
            }
        }
    }
    Some(ports)
}
