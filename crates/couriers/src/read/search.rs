//! The search for orders and couriers: by the beginning of an order's id, and by the beginnings of the
//! words of a courier. Both are ranges of an index, so a search costs the same in a table of any size.

use std::collections::HashSet;

use sqlx::PgConnection;

use super::{
    delivery::{AssignmentRow, state_of},
    rows::{Carried, CourierRow, OrderRow, PAUSED, StoredCourier, courier_of_order},
};
use crate::{
    delivery::{Assignment, DeliveryState},
    store::parse_rank,
};

/// The longest text of a search, in characters.
pub const MAX_SEARCH_CHARS: usize = 100;

/// The rows that are read per courier that is returned: a courier may have several words with the same
/// beginning.
const WORDS_PER_COURIER: i64 = 8;
/// The most couriers among whom free ones are searched. If more have such a word, a longer text is
/// needed to find all of them.
const MAX_CANDIDATES: i64 = 5_000;

/// The rows that a search finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// By their id. An order with exactly this id comes first.
    pub orders: Vec<OrderRow>,
    /// By the word that was found.
    pub couriers: Vec<CourierRow>,
}

/// Searches for orders and couriers, and returns at most `limit` of each.
pub async fn search(
    connection: &mut PgConnection,
    text: &str,
    limit: i64,
) -> Result<Found, sqlx::Error> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Found::default());
    }
    let orders = find_orders(&mut *connection, text, limit).await?;
    let ids = find_ids(&mut *connection, text, limit.saturating_mul(WORDS_PER_COURIER)).await?;
    let ids: Vec<_> = ids.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).collect();
    let rows = sqlx::query_file_as!(StoredCourier, "queries/found_couriers.sql", &ids)
        .fetch_all(connection)
        .await?;
    let couriers = rows.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
    Ok(Found { orders, couriers })
}

/// Returns at most `limit` free couriers whom the text finds, as the match takes them.
pub async fn search_free(
    connection: &mut PgConnection,
    text: &str,
    limit: i64,
) -> Result<Vec<CourierRow>, sqlx::Error> {
    let ids = find_ids(&mut *connection, text, MAX_CANDIDATES).await?;
    let rows = sqlx::query_file_as!(StoredCourier, "queries/rows_of_free.sql", &ids, limit)
        .fetch_all(connection)
        .await?;
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Returns the ids of the couriers whom the text finds, each once.
async fn find_ids(
    connection: &mut PgConnection,
    text: &str,
    limit: i64,
) -> Result<Vec<i64>, sqlx::Error> {
    let digits = phone_digits(text);
    let words = sqlx::query_scalar!(
        "-- words_of\n\
         SELECT word AS \"word!\" FROM unnest(couriers.words_of($1)) AS word \
         ORDER BY length(word) DESC, word",
        digits.as_deref().unwrap_or(text),
    )
    .fetch_all(&mut *connection)
    .await?;
    if words.is_empty() {
        return Ok(Vec::new());
    }
    let ids = sqlx::query_file_scalar!("queries/find_words.sql", &words, limit)
        .fetch_all(connection)
        .await?;
    let mut known = HashSet::new();
    Ok(ids.into_iter().filter(|id| known.insert(*id)).collect())
}

/// Returns the digits of a text that is written like a phone number: `+7 (000) 000-00-01`.
fn phone_digits(text: &str) -> Option<String> {
    let is_phone = text.chars().all(|c| c.is_ascii_digit() || " +-()".contains(c));
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    (is_phone && !digits.is_empty()).then_some(digits)
}

async fn find_orders(
    connection: &mut PgConnection,
    text: &str,
    limit: i64,
) -> Result<Vec<OrderRow>, sqlx::Error> {
    let rows =
        sqlx::query_file!("queries/found_orders.sql", text, limit).fetch_all(connection).await?;
    let orders = rows.into_iter().map(|row| {
        let assignment =
            row.assigned_at.zip(row.deadline).zip(row.courier_id.zip(row.transport_type));
        let assignment =
            assignment.map(|((assigned_at, deadline), (courier_id, transport_type))| {
                Assignment::try_from(AssignmentRow {
                    courier_id,
                    transport_type,
                    assigned_at,
                    deadline,
                    by_hand: row.by_hand,
                    completed_at: row.completed_at,
                    released_at: row.released_at,
                })
            });
        let assignment = assignment.transpose()?;
        let queued = (row.waiting_since, row.held_at);
        let state = state_of(parse_rank(row.rank)?, assignment.as_ref(), queued, row.now);
        let is_carried = matches!(state, DeliveryState::Assigned | DeliveryState::Overdue);
        let since = match state {
            DeliveryState::Waiting => row.waiting_since,
            DeliveryState::Held => row.held_at,
            DeliveryState::Released => row.released_at,
            _ => None,
        };
        Ok(OrderRow {
            order_id: row.order_id,
            state,
            since: since.unwrap_or(row.changed_at),
            courier: courier_of_order(row.courier_id, row.name)?,
            carried: assignment.filter(|_| is_carried).map(|it| Carried {
                transport_type: it.transport_type,
                assigned_at: it.assigned_at,
                deadline: it.deadline,
                is_courier_paused: row.courier_status.as_deref() == Some(PAUSED),
            }),
        })
    });
    orders.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_number_is_one_word_however_it_is_written() {
        assert_eq!(phone_digits("+7 (000) 000-00-01").as_deref(), Some("70000000001"));
        assert_eq!(phone_digits("12").as_deref(), Some("12"));
        for other in ["", "+", "( )", "Anna", "7a", "٧"] {
            assert_eq!(phone_digits(other), None, "{other}");
        }
    }
}
