-- Journal the outcome that somebody gave a step of a locked run by hand.
-- Guard: nobody holds the run. A key that the journal holds raises. Index: primary keys. Returns: nothing.
insert into holdfast.journal (
       shard, run_id, key, seq, kind, name, status, result, error, attempts, epoch, started_ms, completed_ms, settled_by)
select r.shard, r.id, %(key)s, %(seq)s::bigint, %(kind)s, %(name)s, %(entry_status)s, %(result)s::json,
       %(error)s::json, %(attempts)s::integer, r.epoch, %(updated_ms)s::bigint, %(updated_ms)s::bigint, %(settled_by)s
  from holdfast.runs r
 where r.shard = %(shard)s::smallint and r.id = %(id)s::uuid and r.worker is null
