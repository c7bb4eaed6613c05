-- Lock, in the order of ids, the next runs of a tenant that wait for a signal.
-- Index: waits_open_signal, primary key. Returns: their ids, and whether they are there: one may have been deleted.
select f.run_id, locked.id is not null as found
  from (select distinct w.run_id
          from holdfast.waits w
         where w.shard = %(shard)s::smallint and w.tenant = %(tenant)s and w.signal = %(name)s
           and w.run_id > %(passed)s::uuid and w.outcome is null
         order by w.run_id
         limit %(limit)s) f
  left join lateral (
       select r.id
         from holdfast.runs r
        where r.shard = %(shard)s::smallint and r.id = f.run_id and r.tenant is not distinct from %(tenant)s
          for no key update of r) locked on true
