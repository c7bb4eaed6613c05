-- Lock runs whose time has come, earliest first; those that others are at are passed over.
-- Guard: still due. Index: runs_wake. Returns: their ids.
select r.id
  from holdfast.runs r
 where r.shard = %(shard)s::smallint and r.wake_ms <= holdfast.now_ms(%(now_ms)s)
 order by r.wake_ms, r.id
 limit %(limit)s
   for no key update of r skip locked
