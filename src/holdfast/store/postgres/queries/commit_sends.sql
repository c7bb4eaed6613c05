-- Accept the signals that runs send to others; they are delivered later. Rows: lease, then as in signal_accept.
-- Guard: the run is held at the lease's epoch; a signal is accepted once. Index: primary keys. Returns: nothing.
insert into holdfast.signals (shard, id, tenant, name, run_id, payload, sent_ms, expires_ms, passed)
select o.shard, l.signal_id, o.tenant, l.name, l.run_id, l.payload, holdfast.now_ms(%(now_ms)s),
       holdfast.now_rounded_up_ms(%(now_ms)s) + l.keep_ms, '00000000-0000-0000-0000-000000000000'::uuid
  from rows from (json_to_recordset(%(signals)s::json) as (
       id uuid, epoch bigint, running boolean, signal_id uuid, name text, run_id uuid, keep_ms bigint, payload json))
       with ordinality as l (id, epoch, running, signal_id, name, run_id, keep_ms, payload, place)
 cross join lateral (
       select r.shard, r.tenant
         from holdfast.runs r
        where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch
              and coalesce(r.worker, '') <> ''
              and (r.status = 'running' or (r.status = 'compensating' and not l.running))
        limit 1) o
 order by l.place
    on conflict (shard, tenant, id) do nothing
