-- Lock, in the order of ids, the runs of a tenant that wait for a signal.
-- Index: waits_open_signal, primary key. Returns: their ids.
select r.id
  from holdfast.runs r
 where r.shard = %(shard)s::smallint and r.tenant = %(tenant)s
   and r.id in (select w.run_id
                  from holdfast.waits w
                 where w.shard = %(shard)s::smallint and w.signal = %(name)s and w.outcome is null
                   and w.kind = 'signal')
 order by r.id
   for no key update of r
