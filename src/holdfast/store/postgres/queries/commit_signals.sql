-- Give the signal waits that the batch opened the signals that were kept for them, oldest to oldest.
-- A statement of its own after the one that locked the runs: a signal that came before the lock is seen, one that
-- comes after it waits for the lock and sees the wait.
-- Guard: the run is held at the lease's epoch, the wait open, the signal kept and the tenant's own.
-- Index: signals_kept, signals_kept_for_all, primary keys.
-- Returns: nothing.
with opened as (
    select w.shard, w.run_id, w.key, w.signal, w.tenant,
           row_number() over (partition by w.run_id, w.signal order by w.seq, w.key) as place
      from json_to_recordset(%(waits)s::json) as l (
           id uuid, epoch bigint, running boolean, key text, kind text)
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
            limit 1) w
     where l.kind = 'signal'
), pairs as materialized (
    select o.shard, o.run_id, o.key, s.tenant, s.id, s.receiver, s.payload
      from opened o
     cross join lateral (
           select k.tenant, k.id, k.receiver, k.payload
             from (select k.tenant, k.id, k.run_id as receiver, k.payload, k.number
                    from holdfast.signals k
                   where k.shard = %(shard)s::smallint and k.run_id = o.run_id and k.name = o.signal and k.consumed_ms is null
                     and k.tenant is not distinct from o.tenant
                     and (k.expires_ms is null or k.expires_ms > holdfast.now_ms(%(now_ms)s))
                  union all
                  select k.tenant, k.id, k.run_id as receiver, k.payload, k.number
                    from holdfast.signals k
                   where k.shard = %(shard)s::smallint and k.tenant = o.tenant and k.name = o.signal and k.consumed_ms is null
                     and k.run_id is null
                     and (k.expires_ms > holdfast.now_ms(%(now_ms)s) or o.run_id > k.passed)
                     and not exists (
                         select from holdfast.receipts c
                          where c.shard = %(shard)s::smallint and c.signal_id = k.id and c.run_id = o.run_id)) k
            order by k.number
           offset o.place - 1
            limit 1) s
), consumed as (
    update holdfast.signals s
       set consumed_ms = holdfast.now_ms(%(now_ms)s), wait_key = p.key
      from (select m.* from (select o.* from pairs o limit (select 1000000000)) m limit (select 1000000000)) p
     where s.shard = p.shard and s.tenant = p.tenant and s.id = p.id and s.consumed_ms is null
       and s.run_id is not null
), received as (
    insert into holdfast.receipts (shard, signal_id, run_id, tenant, wait_key, consumed_ms)
    select p.shard, p.id, p.run_id, p.tenant, p.key, holdfast.now_ms(%(now_ms)s)
      from pairs p
     where p.receiver is null
)
update holdfast.waits w
   set outcome = 'signalled', closed_ms = holdfast.now_ms(%(now_ms)s), result = p.payload
  from (select m.* from (select o.* from pairs o limit (select 1000000000)) m limit (select 1000000000)) p
 where w.shard = p.shard and w.run_id = p.run_id and w.key = p.key and coalesce(w.outcome, '') = ''
