-- Whether a signal was accepted before.
-- Index: primary key. Returns: one row if so.
select 1
  from holdfast.signals s
 where s.shard = %(shard)s::smallint and s.tenant = %(tenant)s and s.id = %(signal_id)s::uuid
