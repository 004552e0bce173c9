//! Ports on the loopback interface.

use std::{
    hash::{BuildHasher, RandomState},
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener},
};

use anyhow::{Context, Result, bail};

use crate::Obstacle;

/// Returns `port` if it is free, or any free port for 0. The error message names `flag`.
pub(crate) fn claim(port: u16, name: &str, flag: &str) -> Result<u16> {
    if port == 0 {
        return any_free();
    }
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        // The listener is closed again, because the server binds the port itself. If another
        // program takes the port before that, the server ends and its log says so.
        Ok(_) => Ok(port),
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(Obstacle(format!(
            "port {port} for {name} is in use: stop the program that uses it, or choose another \
             port with {flag}"
        ))),
        Err(error) => Err(error).with_context(|| {
            Obstacle(format!("port {port} for {name} cannot be used: choose another with {flag}"))
        }),
    }
}

/// Returns a free port.
///
/// It is below the range from which the system takes ports for outgoing connections, so that no
/// such connection takes it before the server binds it.
pub(crate) fn any_free() -> Result<u16> {
    let random = RandomState::new();
    (0..200_u32)
        .map(|attempt| 20_000 + (random.hash_one(attempt) % 12_000) as u16)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no free port between 20000 and 32000 was found in 200 attempts")
}
