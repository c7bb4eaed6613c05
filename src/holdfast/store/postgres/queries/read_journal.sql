-- The journal of these runs.
-- Index: primary key. Returns: the rows of each run in the order of completion.
select j.run_id, j.key, j.seq, j.kind, j.name, j.status, j.result, j.error, j.fingerprint, j.input, j.attempts, j.epoch,
       j.started_ms, j.completed_ms, j.settled_by
  from unnest(%(ids)s::uuid[]) as d (id)
 cross join lateral (
       select o.*
         from holdfast.journal o
        where o.shard = %(shard)s::smallint and o.run_id = d.id
       offset 0) j
 order by j.run_id, j.seq, j.key
