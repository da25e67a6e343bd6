//! A client that says exactly the bytes it is given.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, bail};

/// A connection that is kept.
#[derive(Debug)]
pub(super) struct Client(TcpStream);

/// What a server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// All of it, with its head.
    pub(super) text: Vec<u8>,
    /// Whether the server ends the connection.
    pub(super) closes: bool,
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

impl Client {
    pub(super) fn new(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Sends bytes, without waiting for an answer.
    pub(super) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Waits for an answer with a length.
    pub(super) fn answer(&mut self) -> anyhow::Result<Answer> {
        let (mut text, mut part) = (Vec::new(), [0; 4096]);
        loop {
            let n = self.0.read(&mut part)?;
            if n == 0 {
                bail!("the server has closed the connection");
            }
            text.extend_from_slice(&part[..n]);
            let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&text[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.context("an answer without a length")?.trim().parse()?;
            if text.len() >= end + 4 + length {
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
                let status = status.context("an answer without a status")?;
                return Ok(Answer { status, closes: head.contains("connection: close"), text });
            }
        }
    }
}

/// A request with a body.
pub(super) fn post(path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
