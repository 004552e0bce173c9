-- Before these places nobody stands in the line of orders that wait (microseconds since 1970) and of
-- couriers who are available (deliveries). Whoever has left a line leaves a dead entry at its head,
-- and while somebody keeps a snapshot open none can be cleared away: so the match begins behind
-- them. Sequences, for their value has no dead versions itself. Both are moved by who holds the
-- advisory lock of the match.
CREATE SEQUENCE couriers.waiting_front MINVALUE 0 START 0;
CREATE SEQUENCE couriers.available_front MINVALUE 0 START 0;

-- Room in each page lets a row's next version stay beside it: a status that rises then needs no new
-- entry in the index, and the old version goes with the next visit to the page.
ALTER TABLE couriers.couriers SET (fillfactor = 60);
ALTER TABLE couriers.order_states SET (fillfactor = 60);
ALTER TABLE couriers.courier_orders SET (fillfactor = 60);
