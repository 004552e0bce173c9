//! Compares the orders topic with the tables: each valid record with its row of `orders`, each
//! invalid one with its row of `rejected_records`, and each row with its record.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chassis::{
    audit::{
        check::{Check, MAX_EXAMPLES},
        rejected::{Due, RejectedRows},
        scanned::ScannedTopic,
    },
    kafka::{record::Position, topic_scan::Scanner},
};
use events::OrderUid;
use futures_util::TryStreamExt as _;
use sqlx::PgConnection;

use super::{
    Source,
    difference::name_differences,
    tables::{Flaw, Orders, canonical, position},
};
use crate::{
    lookup::queries::audited,
    order::{
        parse::{ValidOrder, parse},
        violation::internal_error,
    },
};

/// A row that differs from its record.
struct Differing {
    uid: OrderUid,
    position: Position,
    /// The canonical order of the record.
    record: Vec<u8>,
}

/// The checks of the orders topic while it is read.
struct Checks {
    valid: Check,
    same: Check,
    known: Check,
    /// At most [`MAX_EXAMPLES`] rows whose fields are named.
    differing: Vec<Differing>,
}

/// Reads the whole topic, because each row must have its record, committed or not.
pub(super) async fn check(
    scanner: &Scanner,
    source: &Source<'_>,
    orders: &mut Orders,
    rejected: &mut RejectedRows,
    connection: &mut PgConnection,
) -> anyhow::Result<Vec<Check>> {
    let Source { topic, cleanup, group, committed } = source;
    let mut checks = Checks {
        valid: Check::new(1, "every valid record is stored, or superseded by a later one"),
        same: Check::new(1, "every stored order has the content of its record"),
        known: Check::new(1, "every stored order comes from a record"),
        differing: Vec::new(),
    };
    let mut invalid = Check::new(1, "every invalid record, and no other, is stored as rejected");
    let mut scanned = ScannedTopic::new(topic, &scanner.bounds(topic)?, *cleanup);
    scanner.read(topic, &scanned.ends(), |record| {
        scanned.see(&record);
        let due = Due::of(record.position, committed);
        if due != Due::Unknown {
            checks.valid.note_read();
        }
        // As the service does, a panic is treated like an invalid record.
        let parsed = catch_unwind(AssertUnwindSafe(|| parse(record.value)));
        let parsed = parsed.unwrap_or_else(|_| Err(internal_error()));
        let is_rejected = rejected.look(&mut invalid, &record, parsed.as_ref().err(), due);
        if let Ok(order) = parsed {
            // A record that the database refused need not have a row of `orders`.
            let due = if is_rejected { Due::NotYet } else { due };
            checks.look(topic, order, record.position, due, orders);
        }
        Ok(())
    })?;
    scanned.finish(&scanner.bounds(topic)?);

    for check in [&mut checks.valid, &mut invalid] {
        scanned.skip_unread(check, committed, group);
    }
    rejected.finish(&mut invalid, &scanned);
    checks.look_at_rows(orders, &scanned);
    checks.name_fields(connection).await?;
    Ok(vec![checks.valid, checks.same, invalid, checks.known])
}

impl Checks {
    fn look(
        &mut self,
        topic: &str,
        order: ValidOrder<'_>,
        position: Position,
        due: Due,
        orders: &mut Orders,
    ) {
        let uid = &order.order.order_uid;
        let row = orders.by_uid.get_mut(uid);
        if due == Due::Committed {
            let is_stored = row
                .as_ref()
                .is_some_and(|row| row.position >= position || row.flaw == Some(Flaw::Date));
            let Position { partition, offset, .. } = position;
            self.valid.look(is_stored, || format!("{topic}:{partition}:{offset}"));
        }
        let Some(row) = row.filter(|row| row.position == position) else { return };
        row.is_seen = true;
        if row.flaw != Some(Flaw::Items) && row.hash != order.hash {
            self.same.look(false, || uid.as_str().to_owned());
            if self.differing.len() < MAX_EXAMPLES {
                let (uid, record) = (uid.clone(), order.json);
                self.differing.push(Differing { uid, position, record });
            }
        } else {
            let field = row.flaw.map(|flaw| flaw.field());
            self.same.look(field.is_none(), || format!("{uid}: {}", field.unwrap_or_default()));
        }
    }

    fn look_at_rows(&mut self, orders: &Orders, scanned: &ScannedTopic) {
        for (uid, row) in &orders.by_uid {
            if row.is_seen {
                self.known.look(true, String::new);
                continue;
            }
            match row.flaw {
                Some(flaw) => self.same.look(false, || format!("{uid}: {}", flaw.field())),
                None => scanned.skip_absent(&mut self.same, row.position),
            }
            if row.flaw != Some(Flaw::Date) {
                scanned.look_absent(&mut self.known, row.position, || uid.as_str().to_owned());
            }
        }
        for uid in &orders.without_uid {
            self.known.look(false, || uid.clone());
        }
    }

    /// Adds the names of the fields to the examples of rows that differ from their records.
    async fn name_fields(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let uids: Vec<_> = self.differing.iter().map(|it| it.uid.as_str().to_owned()).collect();
        let mut rows = audited(connection, Some(&uids));
        while let Some(row) = rows.try_next().await? {
            let found = self.differing.iter().find(|it| it.uid.as_str() == row.order_uid);
            // The row may have been replaced since it was compared.
            let Some(it) = found.filter(|it| it.position == position(&row)) else { continue };
            let Some((uid, stored, _)) = canonical(row) else { continue };
            let Some(named) = name_differences(&stored, &it.record) else { continue };
            for example in self.same.examples.iter_mut().filter(|it| **it == uid.as_str()) {
                *example = format!("{uid}: {named}");
            }
        }
        Ok(())
    }
}
