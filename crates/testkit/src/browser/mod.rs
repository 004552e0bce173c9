//! A real browser for tests: Chromium, driven by its own DevTools protocol.
//!
//! One Chromium serves all tests of a process; each [`Page`] has a context of its own in it, with
//! its own cookies, storage and cache, that ends with the page. Clicks and keys are those of a
//! mouse and a keyboard, so a test cannot reach what a person cannot reach. No step waits for a
//! fixed time: every step waits until its condition holds, for at most a minute.
//!
//! ```text
//! test ─▶ Page ─▶ Chromium (a pipe, one for all) ─▶ the service
//!           └───▶ rules: accessibility checks for every page
//! ```
//!
//! When a test fails, a screenshot and the document of each of its pages stay in
//! `target/browser/`.

mod axe;
mod chromium;
mod page;
mod rules;

pub use page::{Page, Reader};
