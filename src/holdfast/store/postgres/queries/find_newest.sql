-- The last link of a chain.
-- Index: runs_chain. Returns: its id, or no row.
select r.id
  from holdfast.runs r
 where r.shard = %(shard)s::smallint and r.chain_id = %(chain_id)s::uuid
 order by r.link desc
 limit 1
