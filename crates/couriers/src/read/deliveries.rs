//! Lists of deliveries: active ones, released ones, or completed ones.

use std::{future::ready, str::FromStr};

use chassis::postgres::{
    page::{Page, read_page},
    read::read,
    time_limit::LIST,
};
use events::CourierId;
use futures_util::TryStreamExt as _;
use sqlx::PgPool;
use time::OffsetDateTime;

use super::delivery::AssignmentRow;
use crate::delivery::{Assignment, DeliveryState};

/// The deliveries of a list, which decides their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Listed {
    /// By their deadline, the earliest first.
    #[default]
    Active,
    /// By the time of their release, the earliest first.
    Released,
    /// By the time of their completion, the latest first.
    Completed,
}

impl Listed {
    pub const ALL: [Self; 3] = [Self::Active, Self::Released, Self::Completed];

    /// Returns the word in a request.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Released => "released",
            Self::Completed => "completed",
        }
    }
}

impl FromStr for Listed {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|one| one.as_str() == word);
        found.ok_or("must be active, released or completed")
    }
}

/// A delivery of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDelivery {
    pub order_id: String,
    /// True if a sweep has noted that the deadline has passed.
    pub is_overdue: bool,
    pub assignment: Assignment,
}

impl ListedDelivery {
    #[must_use]
    pub fn state(&self) -> DeliveryState {
        let Assignment { completed_at, released_at, .. } = &self.assignment;
        if completed_at.is_some() {
            DeliveryState::Completed
        } else if released_at.is_some() {
            DeliveryState::Released
        } else if self.is_overdue {
            DeliveryState::Overdue
        } else {
            DeliveryState::Assigned
        }
    }

    /// Returns the time by which the list is sorted.
    #[must_use]
    pub fn sorted_by(&self, listed: Listed) -> OffsetDateTime {
        let Assignment { deadline, released_at, completed_at, .. } = &self.assignment;
        match listed {
            Listed::Active => *deadline,
            Listed::Released => released_at.unwrap_or(*deadline),
            Listed::Completed => completed_at.unwrap_or(*deadline),
        }
    }
}

/// The deliveries of a request.
#[derive(Debug, Clone, Default)]
pub struct DeliveryFilter {
    pub listed: Listed,
    /// Only deliveries of this courier.
    pub courier_id: Option<CourierId>,
    /// Only deliveries whose time, by which the list is sorted, is not before this one.
    pub from: Option<OffsetDateTime>,
}

pub(super) struct DeliveryRow {
    pub(super) order_id: String,
    pub(super) is_overdue: bool,
    pub(super) courier_id: i64,
    pub(super) transport_type: String,
    pub(super) assigned_at: OffsetDateTime,
    pub(super) deadline: OffsetDateTime,
    pub(super) by_hand: bool,
    pub(super) completed_at: Option<OffsetDateTime>,
    pub(super) released_at: Option<OffsetDateTime>,
}

impl TryFrom<DeliveryRow> for ListedDelivery {
    type Error = sqlx::Error;

    fn try_from(row: DeliveryRow) -> Result<Self, sqlx::Error> {
        let assignment = AssignmentRow {
            courier_id: row.courier_id,
            transport_type: row.transport_type,
            assigned_at: row.assigned_at,
            deadline: row.deadline,
            by_hand: row.by_hand,
            completed_at: row.completed_at,
            released_at: row.released_at,
        };
        Ok(Self {
            order_id: row.order_id,
            is_overdue: row.is_overdue,
            assignment: assignment.try_into()?,
        })
    }
}

/// Returns one page of deliveries, after the given place of the list.
pub async fn list_deliveries(
    pool: &PgPool,
    filter: &DeliveryFilter,
    after: Option<(OffsetDateTime, String)>,
    limit: i64,
) -> Result<Page<ListedDelivery>, sqlx::Error> {
    let courier_id = filter.courier_id.map(CourierId::get);
    let (after_at, after_id) = after.unzip();
    read(pool, LIST, async |connection| {
        macro_rules! page {
            ($query:literal) => {{
                let rows = sqlx::query_file_as!(
                    DeliveryRow,
                    $query,
                    courier_id,
                    filter.from,
                    after_at,
                    after_id.as_deref(),
                    limit + 1,
                );
                let rows = rows.fetch(connection).and_then(|row| ready(row.try_into()));
                read_page(rows, limit, |_| size_of::<ListedDelivery>()).await
            }};
        }
        match filter.listed {
            Listed::Active => page!("queries/list_active.sql"),
            Listed::Released => page!("queries/list_released.sql"),
            Listed::Completed => page!("queries/list_completed.sql"),
        }
    })
    .await
}
