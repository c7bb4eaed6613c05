-- Which of these runs have consumed which of these signals for all. Index: primary key. Returns: signal id, run id.
select c.signal_id, c.run_id
  from unnest(%(signal_ids)s::uuid[]) as s (id)
 cross join unnest(%(ids)s::uuid[]) as d (id)
 cross join lateral (
       select o.signal_id, o.run_id
         from holdfast.receipts o
        where o.shard = %(shard)s::smallint and o.signal_id = s.id and o.run_id = d.id
       offset 0) c
