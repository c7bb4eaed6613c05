-- The transitions of a run.
-- Index: primary key. Returns: the rows in order.
select t.seq, t.from_status, t.to_status, t.reason, t.key, t.worker, t.epoch, t.at_ms, t.actor, t.note, t.command_id,
       t.moved
  from holdfast.transitions t
 where t.shard = %(shard)s::smallint and t.run_id = %(id)s::uuid
 order by t.seq
