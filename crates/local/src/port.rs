//! Ports on the loopback interface.

use std::{
    hash::{BuildHasher, RandomState},
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener},
};

use anyhow::{Context, Result, bail};

use crate::Obstacle;

/// Returns `port` if it is free, or any free port for 0. `flag` is named in the error message.
pub(crate) fn claim(port: u16, name: &str, flag: &str) -> Result<u16> {
    if port == 0 {
        return any_free();
    }
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_) => Ok(port),
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(Obstacle(format!(
            "port {port} for {name} is in use: stop what listens there, or choose another port \
             with {flag}"
        ))),
        Err(error) => Err(error).with_context(|| {
            Obstacle(format!("port {port} for {name} cannot be used: choose another with {flag}"))
        }),
    }
}

/// Returns a free port.
///
/// It lies below the range from which the system gives ports to outgoing connections, so that none
/// of them takes it before the server binds it.
pub(crate) fn any_free() -> Result<u16> {
    let random = RandomState::new();
    (0..200_u32)
        .map(|attempt| 20_000 + (random.hash_one(attempt) % 12_000) as u16)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no free port between 20000 and 32000 was found in 200 attempts")
}
