-- Open waits. A delay counts from the database's time, rounded up: no timer is early.
-- Guard: the run is held at the lease's epoch. Index: primary keys. Returns: nothing.
insert into holdfast.waits (shard, run_id, key, seq, kind, signal, child_id, due_ms, epoch, opened_ms,
                            request, tenant)
select o.shard, l.id, l.key, l.seq, l.kind, l.signal, l.child_id,
       case when l.delay_ms is null then l.due_ms else holdfast.now_rounded_up_ms(%(now_ms)s) + l.delay_ms end,
       l.epoch, holdfast.now_ms(%(now_ms)s), l.request, o.tenant
  from json_to_recordset(%(waits)s::json) as l (
       id uuid, epoch bigint, running boolean, key text, seq bigint, kind text, signal text, child_id uuid,
       delay_ms bigint, due_ms bigint, request json)
 cross join lateral (
       select r.shard, r.tenant
         from holdfast.runs r
        where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch
              and coalesce(r.worker, '') <> ''
              and (r.status = 'running' or (r.status = 'compensating' and not l.running))
        limit 1) o
