//! Ports for servers, services and proxies.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::{Ipv4Addr, TcpListener},
};

use anyhow::{Context as _, Result};

/// Returns a free port below the range from which the system takes ports for outgoing connections:
/// no such connection takes the port while its service is restarted.
pub fn free_port() -> Result<u16> {
    let random = RandomState::new();
    (0..200_u32)
        .map(|attempt| 20_000 + (random.hash_one(attempt) % 12_000) as u16)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no free port between 20000 and 32000 was found in 200 attempts")
}
