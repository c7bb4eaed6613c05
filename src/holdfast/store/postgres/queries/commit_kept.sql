-- What was kept for the signal waits with filters that the batch opened; who matches what is decided outside.
-- A statement of its own after the one that locked the runs, as in commit_signals.
-- Guard: the run is held at the lease's epoch, the wait open. Index: signals_kept, signals_kept_for_all, primary keys.
-- Returns: run id, wait key, tenant, signal id, name, payload, in the order of arrival.
select w.run_id, w.key, w.tenant, s.id, w.signal, s.payload
  from json_to_recordset(%(waits)s::json) as l (id uuid, epoch bigint, running boolean, key text)
 cross join lateral (
       select r.shard
         from holdfast.runs r
        where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch
          and coalesce(r.worker, '') <> ''
          and (r.status = 'running' or (r.status = 'compensating' and not l.running))
        limit 1) o
 cross join lateral (
       select f.*
         from holdfast.waits f
        where f.shard = o.shard and f.run_id = l.id and f.key = l.key and f.epoch = l.epoch and f.outcome is null
          and f.kind = 'signal'
        limit 1) w
 cross join lateral (
       select k.id, k.payload, k.number
         from (select k.id, k.payload, k.number
                from holdfast.signals k
               where k.shard = %(shard)s::smallint and k.run_id = w.run_id and k.name = w.signal and k.consumed_ms is null
                 and k.tenant is not distinct from w.tenant
                 and (k.expires_ms is null or k.expires_ms > holdfast.now_ms(%(now_ms)s))
              union all
              select k.id, k.payload, k.number
                from holdfast.signals k
               where k.shard = %(shard)s::smallint and k.tenant = w.tenant and k.name = w.signal and k.consumed_ms is null
                 and k.run_id is null
                 and (k.expires_ms > holdfast.now_ms(%(now_ms)s) or w.run_id > k.passed)
                 and not exists (
                     select from holdfast.receipts c
                      where c.shard = %(shard)s::smallint and c.signal_id = k.id and c.run_id = w.run_id)) k
       offset 0) s
 order by s.number
