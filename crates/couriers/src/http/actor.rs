//! The header `X-Actor`: the client's own name for the log.

use axum::extract::FromRequestParts;
use chassis::http::problem::Problem;
use http::request::Parts;

use super::problems::INVALID_ACTOR;
use crate::delivery::Actor;

/// The name that the client of an unsafe call gives itself, if it gives one. It is not verified.
pub(crate) struct By(pub(crate) Option<Actor>);

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
