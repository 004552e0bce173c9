//! The limit on lists that are answered at the same time. A list reads many rows and its answer is
//! large, so a flood of lists would otherwise slow everything else.
//!
//! ```text
//! request ─▶ one of 64 places, else 503 ─▶ one of a few turns, else 503 ─▶ the call ─▶ answer
//!            (kept until the answer is sent)   (kept until the answer is ready)
//! ```
//!
//! There are fewer turns than half of the connections to PostgreSQL for requests, so most of these are
//! left to the reads of single entries. The places bound the memory of answers that clients read
//! slowly.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{problem::Problem, problems::TOO_MANY_REQUESTS};
use crate::postgres::pool::for_requests;

/// The most lists that wait, are read, or are being sent. Most have at most half a megabyte.
const PLACES: usize = 64;
/// The longest wait for a turn. It may be long, because the places limit the lists that wait.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);

/// The lists that a service answers.
#[derive(Debug, Clone)]
pub struct Lists {
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// The place of one list. It is an extension of the answer, and [`serve`](super::serve) keeps it
/// until the answer is sent.
#[derive(Debug, Clone)]
pub(super) struct ListPlace {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Lists {
    /// Creates the limit for a service with this number of connections to PostgreSQL.
    #[must_use]
    pub fn of_connections(postgres_connections: u32) -> Self {
        let turns = (for_requests(postgres_connections).saturating_sub(1) / 2).max(1) as usize;
        Self { places: Arc::new(Semaphore::new(PLACES)), turns: Arc::new(Semaphore::new(turns)) }
    }

    /// Takes a place and waits for a turn, or returns a 503.
    async fn take(&self) -> Result<(ListPlace, OwnedSemaphorePermit), Problem> {
        let refused = || TOO_MANY_REQUESTS.problem();
        let place = self.places.clone().try_acquire_owned().map_err(|_| refused())?;
        let turn = timeout(TURN_TIMEOUT, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| refused())?.expect("the semaphore is never closed");
        Ok((ListPlace { _permit: Arc::new(place) }, turn))
    }
}

/// The middleware of the routes that answer with lists.
pub async fn limit_lists(
    State(lists): State<Lists>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (place, _turn) = lists.take().await?;
    let mut response = next.run(request).await;
    response.extensions_mut().insert(place);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_without_a_turn_or_a_place_is_refused() {
        let lists = Lists::of_connections(15);
        let mut taken = Vec::new();
        for _ in 0..2 {
            taken.push(lists.take().await.unwrap());
        }
        assert_eq!(lists.take().await.unwrap_err().status, 503, "two of five connections");
        let places: Vec<_> = taken.drain(..).map(|(place, _turn)| place).collect();
        assert!(lists.take().await.is_ok(), "the turns are over");

        let mut sending = places;
        while let Ok((place, _turn)) = lists.take().await {
            sending.push(place);
        }
        assert_eq!(sending.len(), PLACES);
        sending.pop();
        assert!(lists.take().await.is_ok());
    }

    #[tokio::test]
    async fn one_list_is_answered_with_a_single_connection() {
        let lists = Lists::of_connections(1);
        let taken = lists.take().await.unwrap();
        assert!(lists.take().await.is_err());
        drop(taken);
        assert!(lists.take().await.is_ok());
    }
}
