-- Released orders that are queued again (RELEASED_ORDERS=requeue). Safe while the previous version is
-- running: its match may give such an order to the courier it was taken from, and nothing else.

-- The number of times that the order was queued again after a release.
ALTER TABLE couriers.order_states ADD COLUMN requeues smallint NOT NULL DEFAULT 0;

-- The queued orders that must not go back to the courier they were taken from, oldest first.
CREATE INDEX order_states_requeued ON couriers.order_states (waiting_since, order_id)
    WHERE waiting_since IS NOT NULL AND held_at IS NULL AND taken_from IS NOT NULL;
