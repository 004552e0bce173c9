-- Deliveries whose courier was freed long after their deadline and that nobody has completed since:
-- few, and counted for the board.
CREATE INDEX courier_orders_released ON couriers.courier_orders (courier_id)
    WHERE released_at IS NOT NULL AND completed_at IS NULL;
