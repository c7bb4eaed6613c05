-- Lock, in the order of ids, the next runs of a tenant that wait for a breaker.
-- Index: waits_open_signal, primary key. Returns: run id and wait key of each wait, and whether the run is there: one may
-- have been deleted.
select f.run_id, f.key, locked.id is not null as found
  from (select w.run_id, w.key, w.seq
          from holdfast.waits w
         where w.shard = %(shard)s::smallint and w.tenant = %(tenant)s and w.signal = %(name)s
           and w.run_id > %(after)s::uuid and w.outcome is null and w.kind = 'breaker'
         order by w.run_id, w.seq
         limit %(limit)s) f
  left join lateral (
       select r.id
         from holdfast.runs r
        where r.shard = %(shard)s::smallint and r.id = f.run_id and r.tenant is not distinct from %(tenant)s
          for no key update of r) locked on true
 order by f.run_id, f.seq
