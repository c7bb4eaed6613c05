-- Which of these runs have consumed which of these signals for all. Index: primary key. Returns: signal id, run id.
select c.signal_id, c.run_id
  from holdfast.receipts c
 where c.shard = %(shard)s::smallint and c.signal_id = any(%(signal_ids)s::uuid[]) and c.run_id = any(%(ids)s::uuid[])
