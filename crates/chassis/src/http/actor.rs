//! The client of an unsafe call, as it names itself in the header `X-Actor`. The service does not
//! verify the name.

use std::str::FromStr;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::{problem::Problem, problems::INVALID_ACTOR};

const MAX_ACTOR_BYTES: usize = 100;

/// The name that a client gives for the log: 1 to 100 bytes, without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidActor {
    #[error("must not be blank")]
    Blank,
    #[error("must be at most {MAX_ACTOR_BYTES} bytes long")]
    Long,
    #[error("must not hold control characters")]
    ControlCharacter,
}

impl FromStr for Actor {
    type Err = InvalidActor;

    fn from_str(text: &str) -> Result<Self, InvalidActor> {
        let name = text.trim();
        if name.is_empty() {
            Err(InvalidActor::Blank)
        } else if name.len() > MAX_ACTOR_BYTES {
            Err(InvalidActor::Long)
        } else if name.chars().any(char::is_control) {
            Err(InvalidActor::ControlCharacter)
        } else {
            Ok(Self(name.to_owned()))
        }
    }
}

impl AsRef<str> for Actor {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// The name that the client of an unsafe call gives itself, if it gives one.
#[derive(Debug)]
pub struct By(pub Option<Actor>);

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("x-actor") else { return Ok(Self(None)) };
        // The bytes are read as UTF-8, so that a name may have letters of any language.
        let name = std::str::from_utf8(value.as_bytes())
            .map_err(|_| INVALID_ACTOR.with("the header X-Actor must be UTF-8"))?;
        let actor = name.parse();
        actor
            .map(|actor| Self(Some(actor)))
            .map_err(|rule| INVALID_ACTOR.with(format!("the header X-Actor {rule}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_a_short_name_without_control_characters() {
        assert_eq!(" Анна ".parse::<Actor>().unwrap().as_ref(), "Анна");
        assert_eq!(" ".parse::<Actor>(), Err(InvalidActor::Blank));
        assert_eq!("a\nb".parse::<Actor>(), Err(InvalidActor::ControlCharacter));
        assert_eq!("x".repeat(101).parse::<Actor>(), Err(InvalidActor::Long));
    }
}
