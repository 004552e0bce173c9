//! The limit on the wait for a request.
//!
//! ```text
//! connection ─▶ head ─▶ request ─▶ answer ─▶ idle ─first byte─▶ head ─▶ …
//!              6 s                          30 s               6 s
//! ```
//!
//! The two limits differ because an idle connection is normal, and closing it while the client sends
//! its next request costs that request; but a head that has begun arrives at once, unless a client
//! keeps its connection busy on purpose. hyper has one limit for both.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::connections::State;

/// Limits the time from the start of a connection, from the last answer, and from the first byte of a
/// head, to a complete head.
pub(super) struct HeadTimer {
    head: Duration,
    idle: Duration,
    wait: Wait,
    end: Instant,
    /// Created at the first wait. It may be set to an earlier time than `end`, because it is not
    /// moved with each request; and it is also set during a request, because hyper does not read
    /// again when the answer ends.
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Head,
    Idle,
}

impl HeadTimer {
    pub(super) fn new(head: Duration, idle: Duration) -> Self {
        Self { head, idle, wait: Wait::Head, end: Instant::now() + head, timer: None }
    }

    /// Notes that bytes have arrived.
    pub(super) fn note_bytes(&mut self, state: &State) {
        self.note_request(state);
        if self.wait == Wait::Idle {
            self.wait = Wait::Head;
            self.end = Instant::now() + self.head;
        }
    }

    /// Is ready when the request comes too late. Must be called whenever no bytes have arrived.
    pub(super) fn poll_too_late(&mut self, state: &State, context: &mut Context<'_>) -> Poll<()> {
        self.note_request(state);
        let is_in_request = state.is_in_request();
        loop {
            let end = if is_in_request { Instant::now() + self.idle } else { self.end };
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
            if timer.deadline() > end {
                timer.as_mut().reset(end);
            }
            ready!(timer.as_mut().poll(context));
            if !is_in_request && Instant::now() >= end {
                if !state.is_unread() {
                    return Poll::Ready(());
                }
                // The client still reads the last answer.
                self.end = Instant::now() + self.idle;
            }
            let end = if is_in_request { end } else { self.end };
            timer.as_mut().reset(end);
        }
    }

    /// Begins to be idle if a request was answered since the last call.
    fn note_request(&mut self, state: &State) {
        if let Some(answered_at) = state.take_answered() {
            self.wait = Wait::Idle;
            self.end = answered_at + self.idle;
        }
    }
}
