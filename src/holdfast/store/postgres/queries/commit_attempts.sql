-- Record failed attempts.
-- Guard: the run is held at the lease's epoch. Index: primary keys. Returns: nothing.
insert into holdfast.attempts (shard, run_id, key, attempt, error, epoch, started_ms, ended_ms)
select o.shard, l.id, l.key, l.attempt, l.error, l.epoch, l.started_ms, l.ended_ms
  from json_to_recordset(%(attempts)s::json) as l (
       id uuid, epoch bigint, running boolean, key text, attempt integer, error json, started_ms bigint,
       ended_ms bigint)
 cross join lateral (
       select r.shard
         from holdfast.runs r
        where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch
              and coalesce(r.worker, '') <> ''
              and (r.status = 'running' or (r.status = 'compensating' and not l.running))
        limit 1) o
