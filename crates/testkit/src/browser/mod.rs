//! A real browser for tests: Chromium, driven by its own DevTools protocol.
//!
//! One Chromium serves all tests of a process; each [`Page`] has a context of its own in it, with
//! its own cookies, storage and cache, that ends with the page. Clicks and keys are those of a
//! mouse and a keyboard, so what a reader cannot reach a test cannot reach either. Nothing waits
//! for a time: every step waits until its condition holds, a minute at most.
//!
//! ```text
//! test ─▶ Page ─▶ Chromium (a pipe, one for all) ─▶ the service
//!           └───▶ rules: what must hold for every page
//! ```
//!
//! Of a page that a failing test drops, a picture and the document stay in `target/browser/`.

mod chromium;
mod page;
mod rules;

pub use page::{Page, Reader};
