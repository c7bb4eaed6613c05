-- End a worker's lease.
-- Index: primary key. Returns: nothing.
update holdfast.workers w
   set lease_until_ms = holdfast.now_ms(%(now_ms)s)
 where w.id = %(worker)s
